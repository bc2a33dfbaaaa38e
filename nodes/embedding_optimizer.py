"""From vision features to the UNet's cross-attention context."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .host.folders import EMBEDDING_OPTIMIZERS
from .host.managed import ManagedEmbeddingOptimizer

EmbeddingOptimizerType = io.Custom("EMBEDDING_OPTIMIZER")


class EmbeddingOptimizerLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EmbeddingOptimizerLoader",
            display_name="Load Embedding Optimizer",
            category="visual insertion",
            description="Loads an embedding optimizer from models/embedding_optimizers.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folder_paths.get_filename_list(EMBEDDING_OPTIMIZERS),
                    tooltip="A safetensors file. What it pairs with is read from the file, not from its name.",
                )
            ],
            outputs=[EmbeddingOptimizerType.Output(display_name="embedding_optimizer")],
        )

    @classmethod
    def execute(cls, name) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise(EMBEDDING_OPTIMIZERS, name)
        return io.NodeOutput(ManagedEmbeddingOptimizer(Path(path)))


class EmbeddingOptimizer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EmbeddingOptimizer",
            display_name="Embedding Optimizer",
            category="visual insertion",
            description="Turns what the encoder saw into conditioning the UNet understands as if it were a text.",
            search_aliases=["object to conditioning", "image to prompt embedding"],
            inputs=[
                EmbeddingOptimizerType.Input("embedding_optimizer", tooltip="From its loader, or Playroom Models."),
                io.ClipVisionOutput.Input("clip_vision_output", tooltip="From Object Image Encode, or the stock encoder."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    optional=True,
                    tooltip="0 is no object, 1 the object, above 1 exaggerates it. Free to change, unlike object_scale.",
                ),
                io.Combo.Input(
                    "views",
                    options=["average", "concatenate", "separate"],
                    default="average",
                    optional=True,
                    tooltip="Several pictures: one object by average or by concatenated tokens, or separate objects, "
                    "one per scene of a batch.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
        )

    @classmethod
    def execute(cls, embedding_optimizer, clip_vision_output, strength=1.0, views="average") -> io.NodeOutput:
        features = clip_vision_output["last_hidden_state"]
        positive, negative = embedding_optimizer.contexts(features, strength, views)
        return io.NodeOutput([[positive, {}]], [[negative, {}]])


NODES = [EmbeddingOptimizerLoader, EmbeddingOptimizer]
