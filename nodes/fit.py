"""A picture at a size that an editing model works at, and back."""

from comfy_api.latest import io

from ..pipelines.fitting.families import MODELS
from ..pipelines.fitting.fit import fit_for_edit, undo_fit
from ..pipelines.fitting.frames import METHODS
from .host.node_output import node_output
from .sockets import FitType


class FitForEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FitForEdit",
            display_name="Fit for Edit",
            category="visual insertion",
            description="Gives an editing model a picture of a size that it works at, padded or cropped and never "
            "stretched, so that nothing shifts. Undo Fit brings the result back to the pixel.",
            search_aliases=[
                "resize for qwen edit",
                "kontext image scale",
                "pad to multiple",
                "letterbox",
                "prevent pixel shift",
                "megapixels",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The scene, or the crop of Local Region Crop; any size."),
                io.Combo.Input(
                    "model",
                    options=list(MODELS),
                    default="FLUX.2 klein",
                    tooltip="Whose sizes: the list, or the multiples and the largest number of pixels, of this family. "
                    "Take the workflow's own resizing nodes out.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="pad",
                    tooltip="What is missing to a size is added around, mirrored; or what is too much is cut off "
                    "around, and stays the scene's.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="A mask of the scene, to be fitted alongside. An unpainted mask counts as none.",
                ),
                io.Int.Input(
                    "multiple",
                    default=16,
                    min=1,
                    max=1024,
                    optional=True,
                    tooltip="For model = custom: both sides are multiples of so many px.",
                ),
                io.Float.Input(
                    "megapixels",
                    default=1.0,
                    min=0.0,
                    max=256.0,
                    step=0.05,
                    optional=True,
                    tooltip="For model = custom: at most so many times 1024x1024 px; a smaller scene keeps its size. 0 "
                    "is no limit.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="For the model."),
                io.Mask.Output(
                    display_name="mask", tooltip="The mask, fitted; without one, white where the scene is, not padding."
                ),
                FitType.Output(display_name="fit", tooltip="For Undo Fit."),
                io.Int.Output(display_name="width", tooltip="Of the fitted picture, px: for an empty latent."),
                io.Int.Output(display_name="height", tooltip="Of the fitted picture, px."),
            ],
        )

    @classmethod
    def execute(cls, image, model, method, mask=None, multiple=16, megapixels=1.0) -> io.NodeOutput:
        fitted, masks, fit = fit_for_edit(
            image, mask, model=model, method=method, multiple=multiple, megapixels=megapixels
        )
        return node_output(fitted, masks, fit, *fit.frame.size)


class UndoFit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="UndoFit",
            display_name="Undo Fit",
            category="visual insertion",
            description="Brings an edited picture of any size back to exactly the scene's size and place.",
            search_aliases=["unpad", "restore size", "back to original size", "uncrop"],
            inputs=[
                FitType.Input("fit", tooltip="From Fit for Edit."),
                io.Image.Input("image", tooltip="The edited picture, larger or smaller too; several give several."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Of the scene's size, for Restore Scene or a paste.")
            ],
        )

    @classmethod
    def execute(cls, fit, image) -> io.NodeOutput:
        return node_output(undo_fit(image, fit))
