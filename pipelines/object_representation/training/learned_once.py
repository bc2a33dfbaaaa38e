"""Objects that are learned once and kept: files in a folder, each by what made it, so that a run which goes on has it.

A file's name is a hash of the object's pictures and boxes, of those of its kind, of the settings, and of the base's
networks and kind of device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...progress import ProgressBar
from .. import learned_object
from ..application import Applied
from ..learned_object import as_json
from .examples import LearningModel
from .facts import facts_of, sha256_of_pixels
from .learn import LearningSettings, learn
from .views import View


@dataclass
class LearnedOnce:
    """The learned objects of a folder. Nothing is read or learned before an object is asked for."""

    folder: Path
    settings: LearningSettings
    base: str  # what tells the base's networks, and the kind of device, from others
    base_name: str
    model: Callable[[], LearningModel]  # asked for when something is to be learned
    files: dict[str, Path] = field(default_factory=dict)  # by a hash of the object's own views
    last: Applied | None = None  # whole changes are large: one object is in memory

    def __call__(self, views: Sequence[View], others: Callable[[], Sequence[View]]) -> Applied:
        """The object of some views; `others` gives those of its kind, the same for the same views.

        Raises what `learn` and `learned_object.load` do, and KeyboardInterrupt where learning was interrupted: half of
        it is not kept.
        """
        own = digest(views)
        if own not in self.files:
            others_of_kind = list(others())
            path = self.folder / f"{self._key(own, others_of_kind)}.safetensors"
            if not path.is_file():
                self._learn(views, others_of_kind, path)
            self.files[own] = path
        if self.last is None or self.last.path != self.files[own]:
            self.last = Applied(learned_object.load(self.files[own]), 1.0, self.files[own])
        return self.last

    def _key(self, own: str, others: Sequence[View]) -> str:
        facts = (own, digest(others), as_json(asdict(self.settings)), self.base)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def _learn(self, views: Sequence[View], others: Sequence[View], path: Path) -> None:
        hashes = [sha256_of_pixels(view.pixels) for view in views]
        facts = facts_of(self.settings, [], base_name=self.base_name, licence="not stated", hashes=hashes)
        with ProgressBar("learning", "step") as bar:
            learning = learn(self.model(), views, self.settings, others=others, facts=facts, progress=bar)
        in_time = not self.settings.minutes or learning.seconds < 60 * self.settings.minutes
        if learning.stopped and in_time:
            raise KeyboardInterrupt
        self.folder.mkdir(parents=True, exist_ok=True)
        learned_object.save(learning.learned, path)


def digest(views: Sequence[View]) -> str:
    """A hash of views' pixels and boxes."""
    return hashlib.sha256(repr([(sha256_of_pixels(view.pixels), view.box) for view in views]).encode()).hexdigest()
