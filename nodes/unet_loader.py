"""The UNets of this method in every public layout."""

from pathlib import Path

from comfy_api.latest import io

from ..pipelines.weights.unets import CANDIDATES, CONFIG
from .host.pix2pix_unets import load_pix2pix_unet
from .model_list import ModelList

SAVED = "as saved"
AVERAGED = "averaged (EMA)"


def _is_unet(folder: Path, files: list[str]) -> bool:
    """A diffusers pipeline with a UNet, or a UNet alone."""
    return (CONFIG in files and not set(CANDIDATES).isdisjoint(files)) or (folder / "unet" / CONFIG).is_file()


MODELS = ModelList(
    what="UNet",
    files=("diffusion_models", "checkpoints"),
    advice="Put the file there (a diffusers folder below models/diffusers) and press R to refresh the list.",
    folders="diffusers",
    is_model=_is_unet,
)


class Pix2PixUNetLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Pix2PixUNetLoader",
            display_name="Load Pix2Pix UNet",
            category="visual insertion",
            description="Loads an InstructPix2Pix or Paint by Inpaint UNet in any public layout, also those in which "
            "the stock loaders find nothing.",
            search_aliases=[
                "paint by inpaint loader",
                "instruct pix2pix loader",
                "load diffusers unet",
                "ema weights",
                "visual insertion",
            ],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=MODELS.names(),
                    tooltip="A file of models/diffusion_models or models/checkpoints, or a folder of models/diffusers.",
                ),
                io.Combo.Input(
                    "weights",
                    options=[SAVED, AVERAGED],
                    default=SAVED,
                    tooltip="Some checkpoints carry two copies: the one that was trained, and its average (EMA), which "
                    "the original InstructPix2Pix runs. Stock loaders take the first.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For the pix2pix sampler or guider.")],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return MODELS.check(name)

    @classmethod
    def execute(cls, name, weights=SAVED) -> io.NodeOutput:
        return io.NodeOutput(load_pix2pix_unet(MODELS.find(name), averaged=weights == AVERAGED))
