"""The example workflows, each out of one description, and the samples that they start with."""

from . import adding, editing, insertion, learning, painting
from .front_end import chromium
from .sample_pictures import photographs, samples

WORKFLOWS = (*insertion.WORKFLOWS, *painting.WORKFLOWS, *learning.WORKFLOWS, *editing.WORKFLOWS, *adding.WORKFLOWS)

__all__ = ["WORKFLOWS", "chromium", "photographs", "samples"]
