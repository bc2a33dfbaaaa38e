"""The subject among a conditioning's tokens, which travels with the conditioning to the sampler."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.model_base
import node_helpers
from torch import Tensor

from ...pipelines.add_it.subject_tokens import BARE, subject_tokens

SUBJECT = "visual_insertion_subject"  # among the settings of a conditioning
T5 = "t5xxl"


@dataclass(frozen=True)
class Subject:
    """The positions of the subject's tokens in a context of so many tokens."""

    positions: tuple[int, ...]
    length: int


def prompt_with_subject(clip, prompt: str, subject: str, occurrence: int):
    """CONDITIONING of a prompt that knows where the subject is; without a subject, the prompt alone.

    Raises ValueError for a subject that is not in the prompt, or there several times.
    """
    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    if not subject.strip():
        return conditioning
    names = list(clip.tokenize(prompt))
    name = T5 if T5 in names else names[0]
    left_out = BARE if name == T5 else ()

    def ids(text: str) -> list[int]:
        rows = clip.tokenize(text)[name]
        return [-1 if isinstance(part[0], Tensor) else int(part[0]) for row in rows for part in row]

    return marked(conditioning, subject_tokens(prompt, subject, ids, occurrence=occurrence, left_out=left_out))


def picture_as_subject(conditioning, text_conditioning):
    """CONDITIONING whose subject are the tokens that a picture added to a text, as Redux does, behind it.

    Raises ValueError where nothing was added.
    """
    length = text_conditioning[0][0].shape[1] if text_conditioning else 0
    whole = conditioning[0][0].shape[1] if conditioning else 0
    if whole <= length:
        raise ValueError(
            f"The conditioning has {whole} tokens, the text alone {length}: no picture was added to it. Connect what "
            "comes out of Apply Style Model as conditioning, and what went into it as text."
        )
    return marked(conditioning, range(length, whole))


def marked(conditioning, positions):
    """CONDITIONING that says where its subject is."""
    return node_helpers.conditioning_set_values(
        conditioning, {SUBJECT: Subject(tuple(positions), conditioning[0][0].shape[1])}
    )


def subject_of(conds: dict) -> Subject | None:
    """The subject that a guider's positive conditioning says."""
    return next((cond[SUBJECT] for cond in conds.get("positive", []) if SUBJECT in cond), None)


def positions_in(subject: Subject, base, length: int) -> list[int]:
    """The subject's positions among the tokens of a forward pass: FLUX.2 is handed at least 512, padded in front.

    Raises ValueError for a text of another length.
    """
    if subject.length == length:
        return list(subject.positions)
    if not (isinstance(base, getattr(comfy.model_base, "Flux2", ())) and length > subject.length):
        raise ValueError(
            f"The subject's prompt has {subject.length} tokens, the model got {length}: the text was changed after the "
            "subject was found. Connect Add-It Prompt to the sampler without other prompts joined to it."
        )
    return [position + length - subject.length for position in subject.positions]
