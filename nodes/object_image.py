"""The object's picture as vision features."""

from comfy_api.latest import io

from ..pipelines.pictures.objects import idle_mask_remark, mask_remark, prepare_object
from .host.encoder_view import encoder_view
from .on_the_node import STAYS, on_the_node
from .sockets import background_input, framing_input


class ObjectImageEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ObjectImageEncode",
            display_name="Object Image Encode",
            category="visual insertion",
            description="Looks at the object's picture with a CLIP vision model, and shows what that sees; several "
            "pictures are several views.",
            search_aliases=[
                "clip vision encode object",
                "exemplar encode",
                "reference object",
                "reference image",
                "subject reference",
                "ip adapter",
                "ipadapter",
                "cutout",
                "insert object",
                "visual insertion",
            ],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="The encoder the embedding optimizer was trained with."),
                io.Image.Input("image", tooltip="The object, large in the frame. A batch is several views of it."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the object is; needed to hide what is around it. Load Image's mask of a cut-out is "
                    "the other way round: background = auto turns it, otherwise put Invert Mask between.",
                ),
                framing_input(
                    "How a picture that is not square becomes square: squash (as in training), pad, or crop."
                ),
                background_input(
                    "What is seen outside the mask. auto: with a mask the object alone, cut to a square, without one "
                    "the picture as it is. Or the picture (keep), the encoder's mean colour, white or grey."
                ),
            ],
            **STAYS,
            outputs=[io.ClipVisionOutput.Output(display_name="clip_vision_output", tooltip="For Embedding Optimizer.")],
        )

    @classmethod
    def execute(cls, clip_vision, image, mask=None, framing="squash", background="keep") -> io.NodeOutput:
        picture = prepare_object(
            image, mask, framing=framing, background=background, mean_colour=clip_vision.image_mean
        )
        remark = idle_mask_remark(mask, background) or mask_remark(mask, background)
        shown = on_the_node(cls, remark, picture=encoder_view(clip_vision, picture))
        return io.NodeOutput(clip_vision.encode_image(picture, crop=False), ui=shown)
