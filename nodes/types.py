"""The pack's own wire types. Everything else on its wires is a core type."""

from __future__ import annotations

from comfy_api.latest import io

Layout = io.Custom("INCONTEXT_LAYOUT")
Recipe = io.Custom("INCONTEXT_RECIPE")
Dataset = io.Custom("INCONTEXT_DATASET")
Run = io.Custom("INCONTEXT_RUN")
Sweep = io.Custom("INCONTEXT_SWEEP")
