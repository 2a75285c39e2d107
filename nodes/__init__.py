"""The nodes. Each module holds one step of the method; a node converts, calls the library once, and wraps."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .caption import InContextJointCaption
from .condition import InContextConditionPanels
from .dataset import InContextBuildDataset
from .describe import NODES as DESCRIBING_NODES
from .host import server_routes
from .layout import InContextLayout, InContextTask
from .lora import InContextLoadLora, InContextSaveLora
from .panels import InContextSplitPanels, InContextStitchPanels
from .references import NODES as REFERENCE_NODES
from .routes import add_routes
from .run_routes import add_run_routes
from .score import InContextScoreSet
from .sd_scripts import InContextTrainLora, settle_runs
from .training import InContextTrainLoraInHost

NODES: list[type[io.ComfyNode]] = [
    InContextTask,
    InContextLayout,
    InContextStitchPanels,
    InContextSplitPanels,
    InContextJointCaption,
    InContextLoadLora,
    InContextSaveLora,
    InContextConditionPanels,
    *REFERENCE_NODES,
    *DESCRIBING_NODES,
    InContextBuildDataset,
    InContextTrainLora,
    InContextTrainLoraInHost,
    InContextScoreSet,
]


class InContextExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        if (routes := server_routes()) is not None:  # for the interface
            add_routes(routes)
            add_run_routes(routes)
        settle_runs()  # trainings that ended while ComfyUI did not run
        return NODES
