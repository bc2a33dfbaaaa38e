"""What is added, in words: read off an instruction, or given as a phrase and how many of it are looked for."""

from __future__ import annotations

import re

VERBS = "add|put|place|insert|draw|include"
ARTICLES = "an?|the|some|another"
AFTER = (  # words that begin to say where the subject is, or what it does
    "to|on|onto|in|into|inside|at|next|under|behind|beside|between|above|below|over|near|around|from|that|which|with"
)


def told_subject(instruction: str) -> str:
    """What an instruction such as "add a striped red ball to the table" adds; empty where it is not of that form."""
    words = re.match(rf"\s*(?:please\s+)?(?:{VERBS})\s+(?:(?:{ARTICLES})\s+)?([^.,;]+)", instruction, re.IGNORECASE)
    return re.split(rf"(?:^|\s+)(?:{AFTER})\b", words[1].strip(), flags=re.IGNORECASE)[0] if words else ""


def subject_and_count(text: str, where: str) -> tuple[str, int | None]:
    """A phrase, and how many of it are looked for at most: "red ball:2" as the host's SAM3 has it, None without ":2".

    Raises ValueError, saying `where` it was, for an empty phrase and for what is no number after the colon.
    """
    phrase, colon, number = (part.strip() for part in text.partition(":"))
    if not phrase:
        raise ValueError(f"{where} names no subject; what is added is needed in words, such as “red ball”.")
    if colon and not (number.isdecimal() and int(number)):
        raise ValueError(f"{where} is “{text}”; words are needed, or words:N, where at most N of them are looked for.")
    return " ".join(phrase.split()), int(number) if colon else None
