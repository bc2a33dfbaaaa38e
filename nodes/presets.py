"""Everything that an insertion needs, by one choice."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..pipelines.sampling.guidance import Guidance
from ..pipelines.visual_insertion.presets import PRESETS
from ..pipelines.weights.manifest import find, how_to_get, load_manifest
from .host.playroom_models import load_playroom
from .host.stock_loaders import load_photograph_models
from .sockets import EmbeddingOptimizerType, GuidanceType, model_outputs


class InsertionModels(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InsertionModels",
            display_name="Insertion Models",
            category="visual insertion",
            description="Loads models that belong together, and brings the scales and the picture size that suit them: "
            "the toys that ship with the pack, or the weights for photographs.",
            search_aliases=["insert object loader", "insert object preset", "unified loader", "load all models"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="toys",
                    tooltip="toys: drawn rooms of 128 px, nothing to download. photographs: InstructPix2Pix, CLIP "
                    "ViT-L/14 and the authors' embedding optimizer at 512 px; an error says which file is missing.",
                ),
            ],
            outputs=[
                *model_outputs(),
                EmbeddingOptimizerType.Output(
                    display_name="embedding_optimizer", tooltip="For the Embedding Optimizer node."
                ),
                GuidanceType.Output(
                    display_name="guidance", tooltip="The scales that suit the models; Guidance Control has the dials."
                ),
                io.Float.Output(
                    display_name="megapixels", tooltip="For Fit for Edit with model = custom: a picture's size."
                ),
                io.Int.Output(display_name="working_size", tooltip="For Local Region Crop: a side of a picture, px."),
            ],
        )

    @classmethod
    def validate_inputs(cls, preset=None) -> bool | str:
        if preset is None:  # linked, not known yet
            return True
        try:
            return isinstance(_files(preset), list)
        except (FileNotFoundError, ValueError) as error:
            return str(error)

    @classmethod
    def execute(cls, preset) -> io.NodeOutput:
        files = _files(preset)
        chosen = PRESETS[preset]
        models = load_photograph_models(*files) if files else load_playroom()
        guidance = Guidance(object_scale=chosen.object_scale, scene_scale=chosen.scene_scale)
        return io.NodeOutput(*models, guidance, chosen.megapixels, chosen.working_size)


def _files(preset: str) -> list[Path]:
    """The files of a preset, of each role the first that is there; none for the toys.

    Raises ValueError for another preset, FileNotFoundError that says how to get what is missing.
    """
    if preset not in PRESETS:
        raise ValueError(f"There is no preset '{preset}'; use {', '.join(PRESETS)}.")
    manifest = load_manifest()
    files = []
    for ids in PRESETS[preset].weights:
        weights = [manifest[name] for name in ids]
        folders = {
            weight.folder: [Path(path) for path in folder_paths.get_folder_paths(weight.folder)] for weight in weights
        }
        paths = [path for weight in weights if (path := find(weight, folders))]
        if not paths:
            raise FileNotFoundError(how_to_get(weights[0], folders))
        files.append(paths[0])
    return files
