import torch
from comfy_api.latest import ComfyExtension, io
from ..incontext.errors import *  # noqa
from ..incontext import layout

class Probe(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="InContextProbe", category="x", is_output_node=True,
            inputs=[io.Int.Input("value", default=3), io.String.Input("text", default="a")],
            outputs=[io.Int.Output()], hidden=[io.Hidden.unique_id])
    @classmethod
    def execute(cls, value, text):
        from server import PromptServer
        PromptServer.instance.send_progress_text(f"hällo {text}", cls.hidden.unique_id)
        if text == "boom":
            raise ValueError("value was boom")
        if text == "wait":
            import time, comfy.model_management as m
            for _ in range(200):
                time.sleep(0.05); m.throw_exception_if_processing_interrupted()
        return io.NodeOutput(value * 2, ui={"v": [value]})

class Lists(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="InContextLists", category="x", is_input_list=True,
            inputs=[io.Int.Input("value", default=3)], outputs=[io.Int.Output(is_output_list=True), io.Custom("L").Output()])
    @classmethod
    async def execute(cls, value):
        return io.NodeOutput(value, layout.PanelLayout)

class InContextExtension(ComfyExtension):
    async def get_node_list(self):
        return [Probe, Lists]
