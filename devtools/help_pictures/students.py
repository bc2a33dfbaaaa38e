"""The picture of the node that makes a model into a student, on the playroom."""

from __future__ import annotations

from PIL import Image

from .layout import sheet
from .workshop import Workshop, pixels_of, sample

STUDENTS = {"playroom: guidance": "8 evaluations", "playroom: few_step": "4 evaluations"}


def inserted(workshop: Workshop, student: str) -> Image.Image:
    """The sample object in the sample scene by a student, restored as the template insert_object does."""
    scene = pixels_of(sample("scene"))
    latent, _ = workshop.sampled(scene, sample("object"), student=student)
    return workshop.restored(scene, latent, workshop.toys[1])


def apply(workshop: Workshop) -> Image.Image:
    """What the model makes, and what its students do."""
    return sheet(
        [("scene", sample("scene")), "+", ("object", sample("object"))],
        [
            ("60 evaluations", workshop.inserted("object")),
            *((told, inserted(workshop, name)) for name, told in STUDENTS.items()),
        ],
    )


DRAWN = {"ApplyStudent": apply}
