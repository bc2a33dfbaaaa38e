"""A restored scene as layers, for a painting program or for other nodes."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..pipelines.layers.matting import separate_batch, stacked
from ..pipelines.layers.openraster import OBJECT, write_batch
from .host.node_output import node_output


def layer_inputs() -> list[io.Input]:
    """What layers are made of: Restore Scene's input and three of its outputs."""
    return [
        io.Image.Input("scene", tooltip="The picture as it was before the edit."),
        io.Image.Input("image", tooltip="The restored picture: Restore Scene's image. A batch gives layers of each."),
        io.Mask.Input(
            "object_mask", tooltip="Where the object is: Restore Scene's object. Its rim may be hard or soft."
        ),
        io.Mask.Input(
            "effect_mask",
            tooltip="All that differs from the scene, shadows too: Restore Scene's effect. Elsewhere the image "
            "has to be the scene.",
        ),
    ]


class SplitLayers(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SplitLayers",
            display_name="Split Layers",
            category="visual insertion",
            description="Takes a restored scene apart: the object on transparent, its shadow to multiply, its light to "
            "screen. Over the scene they make the picture again.",
            search_aliases=[
                "extract object",
                "cutout",
                "cut out object",
                "alpha matte",
                "difference matting",
                "shadow layer",
                "rgba",
            ],
            inputs=layer_inputs(),
            outputs=[
                io.Image.Output(display_name="object", tooltip="RGBA. Its soft edge is free of the scene's colours."),
                io.Image.Output(display_name="shadow", tooltip="Multiply it with the scene. White is no shadow."),
                io.Image.Output(display_name="light", tooltip="Screen it over the scene. Black is no light."),
            ],
        )

    @classmethod
    def execute(cls, scene, image, object_mask, effect_mask) -> io.NodeOutput:
        return node_output(*stacked(separate_batch(scene, image, object_mask, effect_mask)))


class SaveLayers(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveLayers",
            display_name="Save Layers",
            category="visual insertion",
            description="Saves scene, shadow, light and object as layers of an OpenRaster file (.ora), which Krita, "
            "GIMP and MyPaint open. Together they are the restored picture.",
            search_aliases=["save ora", "openraster", "export layers", "psd", "krita", "gimp", "photoshop layers"],
            inputs=[
                *layer_inputs(),
                io.String.Input(
                    "filename_prefix",
                    default="layers/ComfyUI",
                    tooltip="Begins the file's name, in the output folder; may hold what Save Image's may.",
                ),
                io.String.Input(
                    "object_name", default=OBJECT, optional=True, tooltip="The name of the object's layer in the file."
                ),
            ],
            outputs=[io.String.Output(display_name="files", tooltip="The files that were written, one a line.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, scene, image, object_mask, effect_mask, filename_prefix, object_name=OBJECT) -> io.NodeOutput:
        height, width = image.shape[1:3]
        layers = separate_batch(scene, image, object_mask, effect_mask)
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        paths = write_batch(Path(folder), name, counter, layers, object_name=object_name)
        saved = [ui.SavedResult(path.name, subfolder, io.FolderType.output) for path in paths]
        files = "\n".join(str(path) for path in paths)
        preview = ui.PreviewImage(image, cls=cls).as_dict()
        return io.NodeOutput(files, ui={**preview, "text": [files], "layers": saved})
