"""The UNets of this method in every public layout."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..pipelines.unet_files import CANDIDATES, CONFIG
from .host.unets import load_unet

FILES, FOLDERS = ("diffusion_models", "checkpoints"), "diffusers"  # model folders of the host, in search order
SAVED, AVERAGED = "as saved", "averaged (EMA)"


def _folders() -> dict[str, Path]:
    """diffusers folders by name: pipelines with a UNet, and UNets alone."""
    found: dict[str, Path] = {}
    for top in folder_paths.get_folder_paths(FOLDERS):
        for root, inside, files in os.walk(top, followlinks=True):
            here = Path(root)
            alone = CONFIG in files and not set(CANDIDATES).isdisjoint(files)
            if here != Path(top) and (alone or (here / "unet" / CONFIG).is_file()):
                found.setdefault(here.relative_to(top).as_posix(), here)
                inside.clear()  # a pipeline's parts are not models of their own
    return found


def _names() -> list[str]:
    files = [name for key in FILES for name in folder_paths.get_filename_list(key)]
    return list(dict.fromkeys([*files, *sorted(_folders())]))


def _find(name: str) -> Path:
    """Raises FileNotFoundError with the folders searched."""
    for key in FILES:
        if path := folder_paths.get_full_path(key, name):
            return Path(path)
    if path := _folders().get(name):
        return path
    where = "; ".join(folder for key in (*FILES, FOLDERS) for folder in folder_paths.get_folder_paths(key))
    raise FileNotFoundError(
        f"There is no UNet '{name}'. Folders searched: {where}. Put the file there (a diffusers folder below "
        "models/diffusers) and press R to refresh the list."
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
            search_aliases=["paint by inpaint loader", "instruct pix2pix loader", "load diffusers unet", "ema weights"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=_names(),
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
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        """In place of the host's own check of the list, which does not say where it looked."""
        try:
            return name is None or bool(_find(name))  # None: linked, not known yet
        except FileNotFoundError as error:
            return str(error)

    @classmethod
    def execute(cls, name, weights=SAVED) -> io.NodeOutput:
        return io.NodeOutput(load_unet(_find(name), averaged=weights == AVERAGED))


NODES = [Pix2PixUNetLoader]
