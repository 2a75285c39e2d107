"""In-Context LoRA for ComfyUI: image sets whose panels belong together.

Inert on purpose: ComfyUI calls `comfy_entrypoint` when it wants the nodes, everything else is imported then.
"""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    from .nodes import InContextExtension

    return InContextExtension()
