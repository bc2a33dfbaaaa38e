"""A finding about an installation, and what comes of many: nothing private, no crash, and what to do next."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

from .installation import Installation

OK, WARNING, PROBLEM, SKIPPED = "ok", "warning", "problem", "skipped"
STATES = (PROBLEM, WARNING, SKIPPED, OK)  # the most urgent first
MOST_STEPS = 3
ALL_WELL = "Nothing: all that was looked at works. Open the template insert_object and press Run."
REPORT = "Report what failed as a bug, with all of these lines."
SHARING = "Nothing of this was sent anywhere. To report a bug, paste all of it."


@dataclass(frozen=True)
class Check:
    """What was looked at, its state, what was found, and what the user can do about it; each but the state one line."""

    name: str
    state: str
    found: str
    advice: str = ""

    def text(self) -> str:
        """The finding in a line, and its advice in another one."""
        line = f"{self.state:<8} {self.name:<21}  {self.found}"
        return f"{line}\n{'':31}> {self.advice}" if self.advice else line


Examination = Callable[[Installation], Iterable[Check]]


def examined(
    examinations: Mapping[str, Examination],
    installation: Installation,
    *,
    announce: Callable[[str], object] = lambda name: None,
    passed_on: tuple[type[BaseException], ...] = (),
) -> Iterator[Check]:
    """What the examinations find, by their names; `announce` is told each before it begins.

    One that raises is a problem of its own, but for KeyboardInterrupt and what is `passed_on`.
    """
    for name, examination in examinations.items():
        announce(name)
        try:
            for check in examination(installation):
                yield replace(check, found=public(check.found), advice=public(check.advice))
        except passed_on:
            raise
        except (Exception, SystemExit) as error:
            yield Check(name, PROBLEM, public(f"failed: {reason(error)}"))


def reason(error: BaseException) -> str:
    """Why something failed, in a line; the kind of error where its text alone would not say."""
    text = shorten(str(error), 400)
    ours = isinstance(error, ValueError | FileNotFoundError) and text.endswith(".")
    return text if ours else f"{type(error).__name__}: {text}".removesuffix(": ")


def public(text: str) -> str:
    """A line of text without the home folder, which becomes ~, and without the user's name in other paths."""
    text = " ".join(text.split())
    home = user = ""
    with suppress(Exception):  # a container may have neither
        home = str(Path.home())
    with suppress(Exception):
        user = getpass.getuser()
    for folder in {home, home.replace("\\", "/"), home.replace("\\", "\\\\")}:  # the last as Python quotes it
        if len(folder) > 1:
            text = re.sub(rf"{re.escape(folder)}(?![\w.-])", "~", text, flags=re.IGNORECASE)
    if user:
        text = re.sub(rf"(?<=[\\/]){re.escape(user)}(?![\w.-])", "USER", text, flags=re.IGNORECASE)
    return text


def next_steps(checks: Sequence[Check]) -> list[str]:
    """What to do, the most useful first, at most MOST_STEPS: problems before warnings before what was left out."""
    by_urgency = sorted((check for check in checks if check.state != OK), key=lambda check: STATES.index(check.state))
    steps = (check.advice or (REPORT if check.state == PROBLEM else "") for check in by_urgency)
    return list(filter(None, dict.fromkeys(steps)))[:MOST_STEPS] or [ALL_WELL]


def verdict(checks: Sequence[Check]) -> str:
    """How many problems and warnings there are, in a few words."""
    counts = {state: sum(check.state == state for check in checks) for state in (PROBLEM, WARNING)}
    said = [f"{count} {state}{'s' * (count > 1)}" for state, count in counts.items() if count]
    return ", ".join(said) or "no problem"


def ending(checks: Sequence[Check]) -> str:
    """What stands below the findings."""
    steps = [f"{number}. {step}" for number, step in enumerate(next_steps(checks), 1)]
    return "\n".join(["What to do next", *steps, "", SHARING])


def report(checks: Sequence[Check]) -> str:
    """All findings and what to do next."""
    return "\n".join([*(check.text() for check in checks), "", ending(checks)])
