"""The scene stays: what an edit should not have touched is the scene's own again."""

from comfy_api.latest import io

from ..pipelines.layers.matting import object_layers
from ..pipelines.pictures.boxes import to_bounding_boxes
from ..pipelines.pictures.checks import rgb
from ..pipelines.pictures.masks import mask_in_boxes, painted_mask
from ..pipelines.pictures.scene import pad_to_multiple
from ..pipelines.restoration.copies import reports_with_copies
from ..pipelines.restoration.restore import MASK_USES, restore
from ..pipelines.sampling.kept_encodings import made_once
from .host.node_output import node_output
from .host.run_progress import run_progress
from .on_the_node import STAYS, on_the_node
from .sockets import bounding_box_input

CELL = 64  # px, a multiple of every VAE's cell


class RestoreScene(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestoreScene",
            display_name="Restore Scene",
            category="visual insertion",
            description="Keeps what an edit put into a scene and gives every other pixel back: shift, zoom and colours "
            "are undone; outside the effect all is the scene's, bit for bit. For any model's result, API nodes too.",
            search_aliases=[
                "keep background",
                "restore background",
                "undo shift",
                "undo zoom",
                "color drift",
                "change mask",
                "difference mask",
                "composite edit",
                "keep the photo",
                "align edit",
                "qwen edit shift",
                "kontext zoom",
            ],
            inputs=[
                io.Image.Input("scene", tooltip="The picture as it was before the edit."),
                io.Image.Input("edited", tooltip="What came back, of any size and by any model; also a batch."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE the edit went through, if there is one: what it alone does to the scene is then "
                    "known, and fainter shadows are told from it.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the edit may show, or has to; without one it is found."
                ),
                io.Combo.Input(
                    "mask_use",
                    options=list(MASK_USES),
                    default="limit",
                    optional=True,
                    tooltip="limit: nothing outside the mask is changed. force: all inside the mask is the edit's.",
                ),
                io.Boolean.Input(
                    "align_geometry",
                    default=True,
                    optional=True,
                    tooltip="Undo shift, zoom, turn and stretch of the whole picture.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=True,
                    optional=True,
                    tooltip="Undo what happened to all colours alike. Off to keep a new mood on the object.",
                ),
                io.Float.Input(
                    "sensitivity",
                    default=1.0,
                    min=0.25,
                    max=4.0,
                    step=0.05,
                    optional=True,
                    tooltip="Above 1 fainter changes are kept too, below 1 only clearer ones.",
                ),
                io.Int.Input(
                    "feather",
                    default=-1,
                    min=-1,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Width of an object's soft edge, px of the scene; -1 is 1/220 of its longer side.",
                ),
                io.Mask.Input(
                    "relevance",
                    optional=True,
                    tooltip="From our sampler: where the model itself looked at the object.",
                ),
                io.Image.Input(
                    "object_image",
                    optional=True,
                    tooltip="The picture of the object that was asked for: the report then says if it was only pasted.",
                ),
                bounding_box_input(
                    "Where the edit may show or has to, as mask_use says; with a painted mask what is masked within it."
                ),
            ],
            **STAYS,
            outputs=[
                io.Image.Output(display_name="image", tooltip="The scene with the object, shadow and reflection."),
                io.Mask.Output(display_name="effect", tooltip="All that differs; where it is 0, the scene."),
                io.Mask.Output(display_name="object", tooltip="The object without shadow and reflection."),
                io.Image.Output(display_name="layer", tooltip="The object on transparent, RGBA."),
                io.BoundingBox.Output(display_name="bounding_box", tooltip="Around the object."),
                io.String.Output(display_name="report", tooltip="Share of untouched pixels, shift, zoom, colour."),
            ],
        )

    @classmethod
    def execute(
        cls,
        scene,
        edited,
        vae=None,
        mask=None,
        mask_use="limit",
        align_geometry=True,
        match_colour=True,
        sensitivity=1.0,
        feather=-1,
        relevance=None,
        object_image=None,
        bounding_box=None,
    ) -> io.NodeOutput:
        restored = restore(
            scene,
            edited,
            mask=mask_in_boxes(scene, mask, bounding_box, count=max(len(scene), len(edited))),
            mask_use=mask_use,
            align_geometry=align_geometry,
            match_colour=match_colour,
            round_trip=None if vae is None else round_trip(vae, scene),
            relevance=painted_mask(relevance),
            sensitivity=sensitivity,
            feather=None if feather < 0 else feather,
            progress=run_progress(len(edited)),
        )
        reports = restored.reports if object_image is None else reports_with_copies(restored, object_image)
        report = "\n\n".join(one.text() for one in reports)
        return node_output(
            restored.images,
            restored.effect,
            restored.objects,
            object_layers(scene, restored.images, restored.objects, restored.effect),
            to_bounding_boxes([[box] if box else [] for box in restored.boxes]),
            report,
            ui=on_the_node(cls, report),
        )


def round_trip(vae, scene):
    """Scenes [B,H,W,C] in 0..1 through a VAE of pictures or of videos: [B,H,W,3]."""
    height, width = scene.shape[1:3]
    padded = pad_to_multiple(rgb(scene), CELL)
    decoded = made_once(vae, "round trip", padded, lambda pictures: vae.decode(vae.encode(pictures)))
    return decoded.flatten(0, -4)[:, :height, :width]
