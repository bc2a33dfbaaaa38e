"""A student applied to the model that taught it."""

from pathlib import Path

from comfy_api.latest import io

from ..pipelines.visual_insertion.distillation.student import load
from .host.playroom_models import FOLDER
from .host.students import apply_student
from .model_list import ModelList
from .on_the_node import STAYS, on_the_node

PLAYROOM = {f"playroom: {file.stem}": file for file in sorted((FOLDER / "students").glob("*.safetensors"))}
MODELS = ModelList(
    what="student",
    files=("loras",),
    advice="`visual-insertion train` makes such files from a student's recipe; put them into models/loras/students and "
    "press R to refresh the list.",
)


def _find(name: str) -> Path:
    return PLAYROOM.get(name) or MODELS.find(name)


class ApplyStudent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ApplyStudent",
            display_name="Apply Student",
            category="visual insertion",
            description="Makes the model into a student of itself, distilled: one evaluation a step in place of three, "
            "and few steps. Set the sampler's speed to fast, which takes the steps that the student knows.",
            search_aliases=["speed up", "faster", "distilled", "lcm", "turbo", "few steps", "guidance distillation"],
            inputs=[
                io.Model.Input("model", tooltip="The InstructPix2Pix model that the student was trained on."),
                io.Combo.Input(
                    "name",
                    options=[*PLAYROOM, *MODELS.names()],
                    tooltip="Of the playroom's toys, or a file of models/loras/students.",
                ),
            ],
            **STAYS,
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="For this pack's pix2pix sampler and guider; others do not know it."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return name in PLAYROOM or MODELS.check(name)

    @classmethod
    def execute(cls, model, name) -> io.NodeOutput:
        student = load(_find(name))
        settings = student.settings
        (least, most), (less, more) = settings.ranges
        shown = on_the_node(
            cls,
            f"{settings.steps} steps, one evaluation each: {settings.sampler}, {settings.scheduler}",
            f"object scale {least:g} to {most:g}, scene scale {less:g} to {more:g}",
        )
        return io.NodeOutput(apply_student(model, student), ui=shown)
