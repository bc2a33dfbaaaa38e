"""A student on a MODEL: its patch is the host's own, the rest is attached to it."""

from __future__ import annotations

from comfy.conds import CONDCrossAttn

from ...pipelines.sampling.guidance import Scales
from ...pipelines.visual_insertion.distillation.student import Student
from .patched_models import patched

ATTACHMENT = "visual_insertion_student"


def apply_student(model, student: Student):
    """A clone of a MODEL that is a student. Raises ValueError for one of another UNet, and for a second student."""
    if student_of(model):
        raise ValueError(f"The model is {student_of(model).name} already; one student at a time.")
    width = model.model.model_config.unet_config.get("context_dim")
    if width != student.settings.context_width:
        raise ValueError(
            f"{student.name} is of a UNet whose cross-attention reads width {student.settings.context_width}; this "
            f"model's reads {width} (768 is SD1.5, 128 the playroom). Load the model that it was trained on."
        )
    clone = patched(model, student.patch, 1.0, student.name)
    clone.set_attachments(ATTACHMENT, student)
    return clone


def student_of(model) -> Student | None:
    """What a MODEL was made into, if it was."""
    return model.get_attachment(ATTACHMENT)


def asked(conds: list, student: Student, scales: Scales) -> list:
    """The host's processed conditionings with the tokens that ask a student for these scales."""
    asking = []
    for cond in conds:
        context = cond["model_conds"]["c_crossattn"].cond
        told = CONDCrossAttn(student.context(context, scales))
        asking.append({**cond, "model_conds": {**cond["model_conds"], "c_crossattn": told}})
    return asking
