"""The nodes. Each module holds one step of the method; a node converts, calls the library once, and wraps."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .captions.describe import NODES as DESCRIBING_NODES
from .captions.joint import InContextJointCaption
from .dataset import InContextBuildDataset
from .evaluate.compare import NODES as COMPARING_NODES
from .evaluate.score import InContextScoreSet
from .host import server_routes
from .lora import InContextLoadLora, InContextSaveLora
from .panels.layout import InContextLayout, InContextTask
from .panels.stitch import InContextSplitPanels, InContextStitchPanels
from .references.condition import InContextConditionPanels
from .references.crop import InContextContextCrop, InContextPastePanels
from .references.finished import (
    InContextEnlargePanels,
    InContextFindPanels,
    InContextKeepGiven,
    InContextMatchColours,
    InContextRepaintPanels,
)
from .references.reference_attention import InContextReferenceAttention
from .renamed import register_renamed
from .server.caption_routes import add_caption_routes
from .server.run_routes import add_run_routes
from .server.set_routes import add_set_routes
from .training.average import InContextAverageCheckpoints
from .training.in_host import InContextTrainLoraInHost
from .training.sd_scripts import InContextTrainLora, settle_runs
from .training.sweep import InContextSweep

NODES: list[type[io.ComfyNode]] = [
    InContextTask,
    InContextLayout,
    InContextStitchPanels,
    InContextSplitPanels,
    InContextJointCaption,
    InContextLoadLora,
    InContextSaveLora,
    InContextConditionPanels,
    InContextContextCrop,
    InContextPastePanels,
    InContextKeepGiven,
    InContextRepaintPanels,
    InContextFindPanels,
    InContextEnlargePanels,
    InContextMatchColours,
    InContextReferenceAttention,
    *DESCRIBING_NODES,
    InContextBuildDataset,
    InContextTrainLora,
    InContextTrainLoraInHost,
    InContextSweep,
    InContextAverageCheckpoints,
    InContextScoreSet,
    *COMPARING_NODES,
]


class InContextExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        if (routes := server_routes()) is not None:  # for the interface
            add_caption_routes(routes)
            add_run_routes(routes)
            add_set_routes(routes)
        await register_renamed()
        settle_runs()  # trainings that ended while ComfyUI did not run
        return NODES
