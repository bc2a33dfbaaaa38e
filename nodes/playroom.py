"""The toy models that ship with the pack, one loader for each system: they run anywhere."""

from comfy_api.latest import io

from .host.playroom_models import load_paint_by_example_playroom, load_playroom
from .sockets import EmbeddingOptimizerType, ExemplarEncoderType, model_outputs


class PlayroomModels(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlayroomModels",
            display_name="Playroom Models",
            category="visual insertion",
            description="Toy models that ship with the pack: a picture in seconds on a CPU, in a world of toys. "
            "For photographs load real weights instead.",
            search_aliases=["toy models", "demo models"],
            inputs=[],
            outputs=[*model_outputs(), EmbeddingOptimizerType.Output(display_name="embedding_optimizer")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_playroom())


class PaintByExamplePlayroomModels(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PaintByExamplePlayroomModels",
            display_name="Paint by Example Playroom Models",
            category="visual insertion",
            description="Toy models of Paint by Example that ship with the pack: a picture in seconds on a CPU, in a "
            "world of toys. For photographs load real weights instead.",
            search_aliases=["toy models", "demo models"],
            inputs=[],
            outputs=[*model_outputs(), ExemplarEncoderType.Output(display_name="exemplar_encoder")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_paint_by_example_playroom())
