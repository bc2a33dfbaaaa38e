"""ComfyUI's face on the methods: schemas and a few lines that call `pipelines` or the host."""

from comfy_api.latest import ComfyExtension, io

from . import (
    embedding_optimizer,
    guidance,
    local_region,
    masks,
    object_image,
    paint_by_example,
    pix2pix,
    playroom,
    unet_loader,
)
from .model_folders import register_model_folders
from .sample_pictures import offer_samples


class VisualInsertionExtension(ComfyExtension):
    async def on_load(self) -> None:
        register_model_folders()
        offer_samples()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        families = (
            *(object_image, embedding_optimizer, guidance, pix2pix, playroom, unet_loader),
            *(local_region, masks, paint_by_example),
        )
        return [node for family in families for node in family.NODES]
