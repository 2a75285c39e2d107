#!/usr/bin/env python3
"""The one command of the repository: `python run.py --help` lists what it does. The code is in `launcher`."""

from __future__ import annotations

import importlib
import sys

from launcher import pack, versions

if __name__ == "__main__":
    if sys.version_info < versions.OLDEST:
        raise SystemExit(f"run.py: {versions.unsupported(sys.version_info[:2])}")
    pack.register()
    raise SystemExit(importlib.import_module(f"{pack.NAME}.launcher.main").main(sys.argv[1:]))
