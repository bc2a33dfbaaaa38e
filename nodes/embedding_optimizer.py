"""From vision features to the UNet's cross-attention context."""

from comfy_api.latest import io

from ..pipelines.encoders.views import VIEWS
from ..pipelines.visual_insertion.released_optimizers import NULLS
from .host.conditionings import EMBEDDING_OPTIMIZER, made_by
from .host.managed_networks import load_embedding_optimizer
from .model_folders import EMBEDDING_OPTIMIZERS
from .model_list import ModelList
from .sockets import LARGEST_SEED, EmbeddingOptimizerType, conditioning_outputs, strength_input

MODELS = ModelList(
    what="embedding optimizer",
    files=(EMBEDDING_OPTIMIZERS,),
    advice="Put the file there and press R to refresh the list, or use Playroom Models, which brings its own.",
)


class EmbeddingOptimizerLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EmbeddingOptimizerLoader",
            display_name="Load Embedding Optimizer",
            category="visual insertion",
            description="Loads an embedding optimizer from models/embedding_optimizers.",
            search_aliases=["visual insertion loader", "insert object model", "load ipadapter", "load ip adapter"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=MODELS.names(),
                    tooltip="A safetensors file, or the authors' emb_opt.pt. What it pairs with is read from the file.",
                ),
                io.Combo.Input(
                    "null",
                    options=list(NULLS),
                    default="stored",
                    optional=True,
                    advanced=True,
                    tooltip="What stands for no object: the file's own, or, for a released file, which has none, the "
                    "authors' zeros (inference), blank picture (training), or the base model's empty prompt.",
                ),
                io.Int.Input(
                    "queries_seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    optional=True,
                    advanced=True,
                    tooltip="Draws the queries that the authors' files lack. Files of this pack bring their own.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    advanced=True,
                    tooltip="Only for null = blank picture: the encoder that will see the object.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    advanced=True,
                    tooltip="Only for null = empty prompt: the text encoder of the model that will be sampled.",
                ),
            ],
            outputs=[
                EmbeddingOptimizerType.Output(
                    display_name="embedding_optimizer", tooltip="For the node Embedding Optimizer."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return MODELS.check(name)

    @classmethod
    def execute(cls, name, null="stored", queries_seed=0, clip_vision=None, clip=None) -> io.NodeOutput:
        path = MODELS.find(name)
        return io.NodeOutput(
            load_embedding_optimizer(path, null=null, queries_seed=queries_seed, clip_vision=clip_vision, clip=clip)
        )


class EmbeddingOptimizer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EmbeddingOptimizer",
            display_name="Embedding Optimizer",
            category="visual insertion",
            description="Turns what the encoder saw into conditioning the UNet understands as if it were a text.",
            search_aliases=[
                "object to conditioning",
                "image to prompt embedding",
                "ip adapter",
                "ipadapter",
                "reference image",
                "insert object",
                "visual insertion",
            ],
            inputs=[
                EmbeddingOptimizerType.Input("embedding_optimizer", tooltip="From its loader, or Playroom Models."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output", tooltip="From Object Image Encode or the stock encoder."
                ),
                strength_input("object"),
                io.Combo.Input(
                    "views",
                    options=list(VIEWS),
                    default="average",
                    optional=True,
                    tooltip="Several pictures: one object by average or by concatenated tokens, or separate objects, "
                    "one per scene of a batch.",
                ),
                io.ClipVisionOutput.Input(
                    "detail_output",
                    optional=True,
                    tooltip="A second encoder's view of the same pictures (DINOv2-large), for optimizers trained so.",
                ),
            ],
            outputs=conditioning_outputs(),
        )

    @classmethod
    def execute(
        cls, embedding_optimizer, clip_vision_output, strength=1.0, views="average", detail_output=None
    ) -> io.NodeOutput:
        features = clip_vision_output["last_hidden_state"]
        details = None if detail_output is None else detail_output["last_hidden_state"]
        positive, negative = embedding_optimizer.contexts(features, strength, views, details)
        patch = embedding_optimizer.patch
        return io.NodeOutput(
            made_by(EMBEDDING_OPTIMIZER, "object", positive, patch),
            made_by(EMBEDDING_OPTIMIZER, "no object", negative, patch),
        )
