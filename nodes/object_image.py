"""The object's picture as vision features."""

from comfy_api.latest import io

from ..pipelines.pictures.objects import prepare_object
from .sockets import background_input, framing_input


class ObjectImageEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ObjectImageEncode",
            display_name="Object Image Encode",
            category="visual insertion",
            description="Looks at the object's picture with a CLIP vision model; several pictures are several views.",
            search_aliases=["clip vision encode object", "exemplar encode", "reference object"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="The encoder the embedding optimizer was trained with."),
                io.Image.Input("image", tooltip="The object, large in the frame. A batch is several views of it."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the object is; needed to hide what is around it. Load Image's mask of a cut-out is "
                    "the other way round: put Invert Mask between.",
                ),
                framing_input(
                    "How a picture that is not square becomes square: squash (as in training), pad, or crop."
                ),
                background_input(
                    "What is seen outside the mask: the picture, the encoder's mean colour, white or grey."
                ),
            ],
            outputs=[io.ClipVisionOutput.Output(display_name="clip_vision_output")],
        )

    @classmethod
    def execute(cls, clip_vision, image, mask=None, framing="squash", background="keep") -> io.NodeOutput:
        picture = prepare_object(
            image, mask, framing=framing, background=background, mean_colour=clip_vision.image_mean
        )
        return io.NodeOutput(clip_vision.encode_image(picture, crop=False))
