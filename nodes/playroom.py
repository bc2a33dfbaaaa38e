"""The embedded default: small models that run anywhere."""

from comfy_api.latest import io

from .embedding_optimizer import EmbeddingOptimizerType
from .host.playroom_models import load_playroom_models


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
            outputs=[
                io.Model.Output(display_name="model"),
                io.Vae.Output(display_name="vae"),
                io.ClipVision.Output(display_name="clip_vision"),
                EmbeddingOptimizerType.Output(display_name="embedding_optimizer"),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_playroom_models())


NODES = [PlayroomModels]
