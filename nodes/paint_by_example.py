"""Paint by Example: a pictured object painted into a mask, with any stock sampler."""

from pathlib import Path

from comfy_api.latest import io

from ..pipelines.encoders.views import VIEWS
from ..pipelines.paint_by_example.inpainting import LATENT_MASKS
from ..pipelines.pictures.objects import mask_remark
from ..pipelines.weights.unets import CONFIG
from .host.paint_by_example_conditioning import condition_on_scene, encode_exemplars
from .host.paint_by_example_models import load_paint_by_example
from .model_list import ModelList
from .on_the_node import STAYS, on_the_node
from .sockets import (
    ExemplarEncoderType,
    background_input,
    conditioning_outputs,
    framing_input,
    model_outputs,
    strength_input,
)

RESIZES = [rule for rule in LATENT_MASKS if rule != "soft"]  # the host rounds what it is given


def _is_paint_by_example(folder: Path, _: list[str]) -> bool:
    """A diffusers folder with a UNet and an image encoder."""
    return (folder / "unet" / CONFIG).is_file() and (folder / "image_encoder").is_dir()


MODELS = ModelList(
    what="model",
    files=("checkpoints",),
    advice="Put Paint by Example's checkpoint into models/checkpoints, or its diffusers folder below models/diffusers, "
    "and press R to refresh the list.",
    folders="diffusers",
    is_model=_is_paint_by_example,
)


class PaintByExampleLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PaintByExampleLoader",
            display_name="Load Paint by Example",
            category="visual insertion",
            description="Loads Paint by Example from its original checkpoint or its diffusers folder. Only what is "
            "needed is read, also of the 12.6 GB file with the optimizer's state.",
            search_aliases=[
                "paint by example loader",
                "exemplar inpainting",
                "inpaint reference loader",
                "visual insertion",
            ],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=MODELS.names(),
                    tooltip="A file of models/checkpoints (model.ckpt, model.safetensors), or a folder of "
                    "models/diffusers.",
                ),
            ],
            outputs=[
                *model_outputs(),
                ExemplarEncoderType.Output(display_name="exemplar_encoder", tooltip="For Paint by Example Encode."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return MODELS.check(name)

    @classmethod
    def execute(cls, name) -> io.NodeOutput:
        return io.NodeOutput(*load_paint_by_example(MODELS.find(name)))


class PaintByExampleEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PaintByExampleEncode",
            display_name="Paint by Example Encode",
            category="visual insertion",
            description="Turns the exemplar's picture into the token Paint by Example understands, and the learned "
            "'no exemplar' beside it. The sampler's cfg is the similarity: 5 in the published runs.",
            search_aliases=[
                "exemplar to conditioning",
                "reference object",
                "reference image",
                "inpaint reference",
                "ip adapter",
                "ipadapter",
                "insert object",
                "swap object",
            ],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="From the loader, or clip-vit-large-patch14."),
                ExemplarEncoderType.Input("exemplar_encoder", tooltip="From Load Paint by Example."),
                io.Image.Input("image", tooltip="The object, large in the frame. A batch: see views."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the object is: the picture is cut to it. Load Image's mask of a cut-out is the "
                    "other way round: background = auto turns it, otherwise put Invert Mask between.",
                ),
                framing_input(
                    "How a picture that is not square becomes square: squash (the original), pad, or crop (diffusers; "
                    "cuts off the ends of long objects)."
                ),
                background_input(
                    "What is seen outside the mask. auto: the picture, as in training, but nothing of it around a "
                    "cut-out. Or the picture (keep), the encoder's mean colour, white or grey."
                ),
                io.Int.Input(
                    "margin",
                    default=10,
                    min=0,
                    max=512,
                    optional=True,
                    advanced=True,
                    tooltip="Pixels kept around the mask's box; 10 in training.",
                ),
                strength_input("exemplar", advanced=True),
                io.Combo.Input(
                    "views",
                    options=list(VIEWS),
                    default="separate",
                    optional=True,
                    tooltip="Several pictures: one object each (separate), or several views of one object, by average "
                    "or by concatenated tokens.",
                ),
            ],
            **STAYS,
            outputs=conditioning_outputs(),
        )

    @classmethod
    def execute(
        cls,
        clip_vision,
        exemplar_encoder,
        image,
        mask=None,
        framing="squash",
        background="keep",
        margin=10,
        strength=1.0,
        views="separate",
    ) -> io.NodeOutput:
        positive, negative, squares = encode_exemplars(
            clip_vision,
            exemplar_encoder,
            pictures=image,
            masks=mask,
            framing=framing,
            background=background,
            margin=margin,
            strength=strength,
            views=views,
        )
        return io.NodeOutput(positive, negative, ui=on_the_node(cls, mask_remark(mask, background), picture=squares))


class PaintByExampleConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PaintByExampleConditioning",
            display_name="Paint by Example Conditioning",
            category="visual insertion",
            description="Shows the scene with a hole in it, and where the hole is. Sample the empty latent with any "
            "sampler; Decode Scene gives back the scene's size.",
            search_aliases=[
                "exemplar inpainting",
                "inpaint reference",
                "inpaint model conditioning",
                "replace object",
                "swap object",
                "insert object",
                "visual insertion",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The exemplar, from Paint by Example Encode."),
                io.Conditioning.Input("negative", tooltip="No exemplar, from the same node; not a text."),
                io.Vae.Input("vae", tooltip="The VAE of the model."),
                io.Image.Input("image", tooltip="The scene, any size; 512 x 512 is what the model knows."),
                io.Mask.Input("mask", tooltip="Where the object goes; above one half counts. Cover old objects whole."),
                io.Combo.Input(
                    "mask_resize",
                    options=RESIZES,
                    default="rounded",
                    optional=True,
                    advanced=True,
                    tooltip="The mask in cells of 8 px: rounded (nearest to the original), nearest (diffusers), or "
                    "touched (every cell the mask touches; for thin masks).",
                ),
            ],
            outputs=[
                *conditioning_outputs(),
                io.Latent.Output(display_name="latent", tooltip="Empty, of the scene's size: for any sampler."),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, vae, image, mask, mask_resize="rounded") -> io.NodeOutput:
        return io.NodeOutput(*condition_on_scene(positive, negative, vae, scene=image, mask=mask, resize=mask_resize))
