"""Masks from a box."""

from comfy_api.latest import io

from ..pipelines.pictures.arbitrary_masks import JITTER, SAMPLES, SHARE, arbitrary_masks
from ..pipelines.pictures.boxes import corners
from ..pipelines.pictures.masks import boxes_mask, chosen_boxes
from .host.node_output import node_output
from .sockets import bounding_box_input, box_inputs, seed_input


class BoxToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="BoxToMask",
            display_name="Box to Mask",
            category="visual insertion",
            description="A filled box, or several, as a mask of a picture's size.",
            search_aliases=["rectangle mask", "bounding box mask", "bbox to mask"],
            inputs=[
                io.Image.Input("image", tooltip="The picture whose size the mask takes."),
                *box_inputs(256, "of the box, px; what lies outside the picture is cut off."),
                bounding_box_input("Boxes from the host's box canvas or a detector; they replace x, y, width, height."),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 in the boxes, 0 elsewhere; of the picture's size.")
            ],
        )

    @classmethod
    def execute(cls, image, x=0, y=0, width=256, height=256, bounding_box=None) -> io.NodeOutput:
        boxes = chosen_boxes(image, None, bounding_box, corners(x, y, width, height))
        return node_output(boxes_mask(boxes, *image.shape[1:3]).float())


class ArbitraryMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ArbitraryMask",
            display_name="Arbitrary Mask",
            category="visual insertion",
            description="Four jagged curves around a box: the arbitrary shapes that Paint by Example is trained with.",
            search_aliases=["paint by example mask", "bezier mask", "random mask", "mask augmentation"],
            inputs=[
                io.Image.Input("image", tooltip="The picture whose size the mask takes."),
                seed_input("Another seed, another shape."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Its bounding box replaces x, y, width, height. An unpainted mask counts as none.",
                ),
                *box_inputs(256, "of the box, px; not used with a mask or a bounding box."),
                io.Float.Input(
                    "extension",
                    default=SHARE,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="A side bulges towards at most this share of the room to the picture's border.",
                ),
                io.Int.Input(
                    "samples",
                    default=SAMPLES,
                    min=1,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="Points on each side; straight lines join them.",
                ),
                io.Int.Input(
                    "jitter",
                    default=JITTER,
                    min=0,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="How far a point may be off its curve, px. The default suits pictures of 512 px.",
                ),
                bounding_box_input(
                    "Boxes from the host's box canvas or a detector, a shape around each; they replace x, y, width, "
                    "height. With a mask too, the box is that of what is masked within them."
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 in the shape, 0 elsewhere; of the picture's size.")
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        seed,
        mask=None,
        x=0,
        y=0,
        width=256,
        height=256,
        extension=SHARE,
        samples=SAMPLES,
        jitter=JITTER,
        bounding_box=None,
    ) -> io.NodeOutput:
        boxes = chosen_boxes(image, mask, bounding_box, corners(x, y, width, height))
        settings = dict(seed=seed, samples=samples, jitter=jitter, extension=extension)
        return node_output(arbitrary_masks(boxes, *image.shape[1:3], **settings))
