"""A cut-out put into a scene without a model."""

from comfy_api.latest import io

from ..pipelines.pictures.boxes import corners, to_bounding_boxes
from ..pipelines.pictures.masks import chosen_boxes
from ..pipelines.placement.place import LIGHT, SHADOW, SOFTNESS, place
from .sockets import bounding_box_input, box_inputs


def share_input(name: str, default: float, tooltip: str) -> io.Input:
    """A strength from nothing to all."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, optional=True, tooltip=tooltip)


class PlaceObject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlaceObject",
            display_name="Place Object",
            category="visual insertion",
            description="Puts a cut-out into a scene: standing in a box, with a soft shadow and in the scene's light: "
            "a rough composite, to be harmonised by a model or used as it is.",
            search_aliases=[
                "paste object",
                "overlay image",
                "composite cutout",
                "collage",
                "contact shadow",
                "drop shadow",
                "harmonize",
                "add product",
            ],
            inputs=[
                io.Image.Input("scene", tooltip="The picture to put the object into."),
                io.Image.Input(
                    "object_image",
                    tooltip="The object: a picture with alpha (RGBA), or one with a mask of the object. A batch is one "
                    "object for each scene, or several results for one scene.",
                ),
                io.Mask.Input(
                    "object_mask",
                    optional=True,
                    tooltip="1 where the object is. Load Image's mask of a cut-out is the other way round: put Invert "
                    "Mask between, or Join Image with Alpha.",
                ),
                *box_inputs(256, "of the box, px. The object stands on its lower side and keeps its shape."),
                share_input("shadow", SHADOW, "How dark the shadow under the object is; 0 is none."),
                share_input("softness", SOFTNESS, "How far the shadow spreads: small is hard light, large a grey sky."),
                share_input(
                    "light", LIGHT, "How much of the scene's brightness and tint the object takes on; 0 leaves it."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Paint where the object should be: the mask's bounding box replaces x, y, width, height. "
                    "An unpainted mask counts as none.",
                ),
                bounding_box_input(
                    "Boxes from the host's box canvas or a detector, an object in each; they replace x, y, width and "
                    "height."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The scene with the object, the same pixels elsewhere."),
                io.Mask.Output(display_name="object", tooltip="The object's opacity."),
                io.Mask.Output(
                    display_name="effect", tooltip="Object and shadow; where it is 0, the scene's own pixel."
                ),
                io.BoundingBox.Output(display_name="bounding_box", tooltip="Around what is seen of the object."),
            ],
        )

    @classmethod
    def execute(
        cls,
        scene,
        object_image,
        object_mask=None,
        x=0,
        y=0,
        width=256,
        height=256,
        shadow=SHADOW,
        softness=SOFTNESS,
        light=LIGHT,
        mask=None,
        bounding_box=None,
    ) -> io.NodeOutput:
        boxes = chosen_boxes(scene, mask, bounding_box, corners(x, y, width, height))
        placed = place(scene, object_image, object_mask, boxes, shadow=shadow, softness=softness, light=light)
        return io.NodeOutput(placed.images, placed.objects, placed.effects, to_bounding_boxes(placed.boxes))
