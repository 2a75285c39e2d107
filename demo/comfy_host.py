"""Makes ComfyUI's classes importable for the scripts that train the demo model, on the CPU."""

from __future__ import annotations

import os
import sys


def import_comfy() -> None:
    """Put ``$COMFYUI_PATH`` first on the path and choose the CPU before anything of ComfyUI is imported."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        raise SystemExit("COMFYUI_PATH is not set; it must name the ComfyUI folder whose model classes are trained.")
    if path not in sys.path:
        sys.path.insert(0, path)
    arguments, sys.argv = sys.argv, sys.argv[:1]  # ComfyUI parses the command line when imported
    try:
        import comfy.cli_args
    finally:
        sys.argv = arguments
    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.use_pytorch_cross_attention = True
