"""The example workflows, each out of one description, and the samples that they start with."""

from . import editing, insertion, painting
from .front_end import chromium
from .sample_pictures import samples

WORKFLOWS = (*insertion.WORKFLOWS, *painting.WORKFLOWS, *editing.WORKFLOWS)

__all__ = ["WORKFLOWS", "chromium", "samples"]
