"""A cut-out put into a scene without a model."""

from comfy_api.latest import io

from ..pipelines.pictures.boxes import corners, to_bounding_boxes
from ..pipelines.pictures.masks import chosen_boxes
from ..pipelines.pictures.objects import mask_remark
from ..pipelines.placement.ground import optional_foot
from ..pipelines.placement.place import LIGHT, SHADOW, SOFTNESS, place
from .host.node_output import node_output
from .on_the_node import STAYS, on_the_node
from .sockets import FARTHEST, bounding_box_input, box_inputs


def share_input(name: str, default: float, tooltip: str) -> io.Input:
    """A strength from nothing to all."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, optional=True, tooltip=tooltip)


def foot_input(name: str, tooltip: str, least: int) -> io.Input:
    """A number of a point on the ground, px; the least one is for none."""
    return io.Int.Input(name, default=least, min=least, max=FARTHEST, optional=True, tooltip=tooltip)


class PlaceObject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlaceObject",
            display_name="Place Object",
            category="visual insertion",
            description="Puts a cut-out into a scene: standing in a box or on a point of the ground, with a soft "
            "shadow and in the scene's light: a rough composite, to be harmonised by a model or used as it is.",
            search_aliases=[
                "paste object",
                "put object",
                "add object",
                "insert object",
                "add to scene",
                "overlay image",
                "combine images",
                "merge images",
                "blend cutout",
                "compose",
                "composite cutout",
                "photobash",
                "product photo",
                "product placement",
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
                    tooltip="Paint where the object should be: the mask's bounding box replaces x, y, width, height, "
                    "and a point. An unpainted mask counts as none.",
                ),
                bounding_box_input(
                    "Boxes from the host's box canvas or a detector, an object in each; they replace x, y, width and "
                    "height, and a point."
                ),
                foot_input(
                    "foot_x",
                    "A point on the ground instead of the box: px from the left, where the middle of the object's foot "
                    "stands. It replaces x, y, width and height; a painted mask and connected boxes replace it. -1: "
                    "no point.",
                    -1,
                ),
                foot_input("foot_y", "The same point, px from the top: the object's lowest pixels. -1: no point.", -1),
                foot_input(
                    "object_height",
                    "Height of the object on that point, px. 0 is automatic: half of the scene's shorter side on the "
                    "lower edge, smaller the higher the point lies, as if the horizon were a third of the way down.",
                    0,
                ),
            ],
            **STAYS,
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
        foot_x=-1,
        foot_y=-1,
        object_height=0,
    ) -> io.NodeOutput:
        connected = chosen_boxes(scene, mask, bounding_box, None)
        places = connected or optional_foot(foot_x, foot_y, object_height) or [[corners(x, y, width, height)]]
        placed = place(scene, object_image, object_mask, places, shadow=shadow, softness=softness, light=light)
        shown = on_the_node(cls, mask_remark(object_mask))
        return node_output(placed.images, placed.objects, placed.effects, to_bounding_boxes(placed.boxes), ui=shown)
