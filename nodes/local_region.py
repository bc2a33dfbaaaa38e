"""A part of a picture at the model's own resolution, and back in place."""

from comfy_api.latest import io

from ..pipelines.local_region.cutting import cut
from ..pipelines.local_region.pasting import AREAS, paste, share_remark
from ..pipelines.local_region.windows import CHOICES, SHAPES
from ..pipelines.pictures.boxes import corners, to_bounding_boxes
from ..pipelines.pictures.masks import chosen_places
from .host.node_output import node_output
from .on_the_node import STAYS, on_the_node
from .sockets import LocalRegionType, bounding_box_input, box_inputs


class LocalRegionCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LocalRegionCrop",
            display_name="Local Region Crop",
            category="visual insertion",
            description="Cuts out the part of a picture around a mask or a box, at the size the model works at.",
            search_aliases=[
                "crop and stitch",
                "inpaint crop",
                "high resolution insertion",
                "crop around mask",
                "crop photo",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The scene; any size. A batch gives a crop of each."),
                io.Float.Input(
                    "expansion",
                    default=0.5,
                    min=0.0,
                    max=8.0,
                    step=0.05,
                    tooltip="How much surrounding the model sees: each side moves out by this share of the mask's "
                    "longer side. A crop at a border is shifted inside first, then shrunk.",
                ),
                io.Int.Input(
                    "working_size",
                    default=512,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Longer side of the crop, px: 512 for Stable Diffusion 1.5, 128 for the playroom. "
                    "0 is the region's own size.",
                ),
                io.Combo.Input(
                    "regions",
                    options=list(CHOICES),
                    default="together",
                    tooltip="All that is masked together; each connected region for itself, as a batch; or only one.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where to cut, and what the crop's mask is made of; it replaces x, y, width, height. An "
                    "unpainted mask counts as none.",
                ),
                *box_inputs(0, "of a box, px; not used with a mask or a bounding box."),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=1000,
                    optional=True,
                    tooltip="For regions = one: which, the largest first.",
                ),
                io.Int.Input(
                    "minimum",
                    default=32,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="Each side moves out by at least so many px of the scene.",
                ),
                io.Combo.Input(
                    "shape",
                    options=list(SHAPES),
                    default="square",
                    optional=True,
                    advanced=True,
                    tooltip="The crop's shape: square, as the expanded box comes, or the scene's.",
                ),
                bounding_box_input(
                    "Boxes from the host's box canvas or a detector; they replace x, y, width, height. With a mask "
                    "too, only what is masked within them counts."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="crop", tooltip="What the model is to see; one for each region."),
                io.Mask.Output(display_name="crop_mask", tooltip="The mask, or the filled box, in the crop."),
                LocalRegionType.Output(display_name="local_region", tooltip="For Local Region Paste."),
                io.BoundingBox.Output(
                    display_name="bounding_box", tooltip="The box in the scene around what is masked; of each region."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        expansion,
        working_size,
        regions,
        mask=None,
        x=0,
        y=0,
        width=0,
        height=0,
        index=0,
        minimum=32,
        shape="square",
        bounding_box=None,
    ) -> io.NodeOutput:
        box = corners(x, y, width, height) if width and height else None
        mask, boxes = chosen_places(image, mask, bounding_box, box)
        region, crop_mask = cut(
            image,
            mask,
            boxes,
            expansion=expansion,
            minimum=minimum,
            shape=shape,
            working_size=working_size,
            choice=regions,
            index=index,
        )
        return node_output(region.crops, crop_mask, region, to_bounding_boxes(region.boxes))


class LocalRegionPaste(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LocalRegionPaste",
            display_name="Local Region Paste",
            category="visual insertion",
            description="Puts the edited crop back. Every pixel that is black in `changed` is the scene's own, to the "
            "last bit.",
            search_aliases=["stitch", "inpaint stitch", "uncrop", "paste back", "paste object", "composite"],
            inputs=[
                LocalRegionType.Input("local_region", tooltip="From Local Region Crop."),
                io.Image.Input("image", tooltip="The edited crop, also enlarged; one for each region."),
                io.Int.Input(
                    "feather",
                    default=16,
                    min=0,
                    max=1024,
                    tooltip="Width of the soft edge, px of the scene: around what changed, but inside the mask and the "
                    "window's border, there at most a quarter of the width; none along the scene's own border.",
                ),
                io.Float.Input(
                    "colour_match",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Gives the crop the scene's brightness, tint and contrast, as measured outside the mask; "
                    "for area = window or mask, with changes the colours are matched anyway.",
                ),
                io.Combo.Input(
                    "area",
                    options=list(AREAS),
                    default="changes",
                    tooltip="What is pasted: what the edit changed, object and shadow, with a soft rim; a shift, zoom "
                    "and tint of the whole crop are undone before, as in Restore Scene. Or the window; or only what "
                    "is masked.",
                ),
                io.Image.Input(
                    "scene",
                    optional=True,
                    tooltip="Paste into this picture of the same size instead, such as the result of another paste.",
                ),
            ],
            **STAYS,
            outputs=[
                io.Image.Output(display_name="image", tooltip="The scene with the edited crop in place."),
                io.Mask.Output(
                    display_name="changed",
                    tooltip="How much of each pixel is new. Where it is black the pixel is the scene's.",
                ),
            ],
        )

    @classmethod
    def execute(cls, local_region, image, feather, colour_match, area, scene=None) -> io.NodeOutput:
        result, changed = paste(local_region, image, feather=feather, match=colour_match, area=area, scene=scene)
        return node_output(result, changed, ui=on_the_node(cls, share_remark(changed)))
