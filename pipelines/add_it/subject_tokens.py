"""Which tokens of a prompt are the subject: found by token ids, for any tokenizer.

The phrase's ids are looked for as a run in the prompt's ids. Its spellings there are read off the prompt's text:
another case or number ("Sofa", "cats") is other tokens. A run inside of a longer word ("cat" in "catamaran") is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches

Tokenize = Callable[[str], Sequence[int]]  # a text's ids as the encoder gets them, with start, end and padding

T5_WORD_START = 3  # SentencePiece's bare word start in T5's vocabulary, beside "hat" in [3, 547]
BARE = frozenset({T5_WORD_START})


def spellings(prompt: str, phrase: str) -> list[str]:
    """How whole words of a prompt spell a phrase: in any case, its last word in the singular or the plural."""
    *first, last = phrase.split()
    endings = "|".join(re.escape(form) for form in sorted(_numbers(last), key=len, reverse=True))
    words = r"\s+".join([*(re.escape(word) for word in first), f"(?:{endings})"])
    return list(dict.fromkeys(re.findall(rf"(?<!\w){words}(?!\w)", prompt, re.IGNORECASE)))


def subject_tokens(
    prompt: str, phrase: str, tokenize: Tokenize, *, occurrence: int = 0, left_out: Collection[int] = ()
) -> list[int]:
    """The positions of a phrase's tokens among the prompt's tokens, without those whose id is `left_out`.

    `occurrence` counts from 1; 0 says that there must be only one. For T5, `left_out` is `BARE`. Raises ValueError for
    an empty phrase, one that is not in the prompt or is no run of its tokens, and for several hits of which none was
    chosen; the error says what was found.
    """
    phrase = " ".join(phrase.split())
    if not phrase:
        raise ValueError("The subject is empty: name what is added in the prompt's own words, such as red ball.")
    forms = spellings(prompt, phrase)
    if not forms:
        raise ValueError(f"“{phrase}” is not in the prompt “{prompt}”. {_suggestion(prompt, phrase)}")
    ids = list(tokenize(prompt))
    special = set(tokenize(""))
    hits = sorted({hit for form in forms for hit in _runs(ids, _content(form, tokenize, special))})
    hits = [hit for hit in hits if not any(_inside(hit, longer) for longer in _longer(prompt, forms, ids, tokenize))]
    if not hits:
        raise ValueError(
            f"“{forms[0]}” is in the prompt, but not as tokens of its own there. Put spaces around it, without "
            "quotation marks, brackets or hyphens."
        )
    if not 0 <= occurrence <= len(hits):
        raise ValueError(f"“{phrase}” is in the prompt {len(hits)} times; there is no occurrence {occurrence}.")
    if occurrence == 0 and len(hits) > 1:
        raise ValueError(
            f"“{phrase}” is in the prompt {len(hits)} times ({', '.join(forms)}). Choose an occurrence from 1 to "
            f"{len(hits)}, or say more of the subject, such as its colour."
        )
    start, end = hits[max(occurrence, 1) - 1]
    positions = [position for position in range(start, end) if ids[position] not in left_out]
    return positions or list(range(start, end))


def _numbers(word: str) -> set[str]:
    forms = {word, f"{word}s", f"{word}es"}
    lower = word.lower()
    if lower.endswith("y"):
        forms.add(f"{word[:-1]}ies")
    if lower.endswith("ies") and len(word) > 4:
        forms.add(f"{word[:-3]}y")
    if lower.endswith("es") and len(word) > 3:
        forms.add(word[:-2])
    if lower.endswith("s") and not lower.endswith("ss") and len(word) > 2:
        forms.add(word[:-1])
    return forms


def _content(text: str, tokenize: Tokenize, special: set[int]) -> list[int]:
    return [token for token in tokenize(text) if token not in special]


def _runs(ids: list[int], run: list[int]) -> list[tuple[int, int]]:
    length = len(run)
    starts = range(len(ids) - length + 1) if length else range(0)
    return [(start, start + length) for start in starts if ids[start : start + length] == run]


def _longer(prompt: str, forms: list[str], ids: list[int], tokenize: Tokenize) -> list[tuple[int, int]]:
    """Where words of the prompt are that begin like the last word of a spelling and go on."""
    special = set(tokenize(""))
    last_words = {form.split()[-1].lower() for form in forms}
    runs = []
    for word in set(re.findall(r"[\w'’-]+", prompt)):
        if any(word.lower().startswith(last) and word.lower() != last for last in last_words):
            runs += _runs(ids, _content(word, tokenize, special))
    return runs


def _inside(hit: tuple[int, int], longer: tuple[int, int]) -> bool:
    """Whether a hit ends within a longer word."""
    return longer[0] < hit[1] < longer[1]


def _suggestion(prompt: str, phrase: str) -> str:
    words = re.findall(r"\w+", prompt)
    near = get_close_matches(phrase.split()[-1], words, 1, 0.6)
    advice = f"Is it “{near[0]}”?" if near else "Use words of the prompt."
    return advice if words else "The prompt is empty."
