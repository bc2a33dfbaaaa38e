"""What a run says about itself: JSON lines, trackers by accelerate, and the losses as a picture."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from .plot import plot_history

PLAIN = ("step", "seconds")
PROJECT = "visual-insertion"
SHOW_PICTURES = ("tensorboard", "wandb")  # the trackers that take pictures
Tracker = Literal["tensorboard", "wandb", "trackio"]


def _line(row: dict[str, float]) -> str:
    """A row as a line of JSON, which knows no infinity."""
    return json.dumps({name: value if math.isfinite(value) else None for name, value in row.items()}) + "\n"


def check_trackers(names: Sequence[Tracker]) -> None:
    """Raise ValueError for a tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise ValueError(
                f"run.trackers names {name}, which is not installed. Install it (pip install {name}), or leave it out: "
                "log.jsonl has the same numbers."
            )


def start_tracker(name: Tracker, folder: Path, project: str, begun: int) -> Any:
    """One of accelerate's trackers, started for the run in a folder, which goes on after step `begun`."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS  # slow to import, as are the packages behind it

    if name not in LOGGER_TYPE_TO_CLASS:
        raise ValueError(f"run.trackers names {name}, which this version of accelerate does not know: update it.")
    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        tracker = kind(name, folder, purge_step=begun)
    elif name == "wandb":
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
        tracker = kind(project, name=folder.name, id=place, dir=str(folder), resume="allow")
    else:
        tracker = kind(project, name=folder.name, resume="allow")
    if hasattr(tracker, "start"):  # older ones have started by now
        tracker.start()
    return tracker


class Log:
    """Rows of numbers by name, each with its "step". Without a folder it only remembers.

    `history` are the rows up to the checkpoint a run goes on from: what was logged after it is taken back, as far as a
    tracker can. Raises ValueError for a tracker that is not installed.
    """

    def __init__(
        self,
        folder: Path | None,
        history: list[dict[str, float]],
        trackers: Sequence[Tracker] = ("tensorboard",),
        project: str = PROJECT,
    ):
        self.folder = folder
        self.history = list(history)
        self.trackers: dict[str, Any] = {}
        self._print_others: Any = threading.excepthook
        if folder:
            check_trackers(trackers)
            threading.excepthook = self._print_error
            begun = int(history[-1]["step"] + 1 if history else 0)
            self.trackers = {name: start_tracker(name, folder, project, begun) for name in trackers}
            (folder / "log.jsonl").write_text("".join(map(_line, self.history)), encoding="utf-8")

    def _print_error(self, error: threading.ExceptHookArgs) -> None:
        """Of TensorBoard's own thread nothing, on a full disk say: its next `add_scalar` raises the same."""
        if not type(error.thread).__module__.startswith("tensorboard"):
            self._print_others(error)

    def add(self, row: dict[str, float]) -> None:
        self.history.append(row)
        if not self.folder:
            return
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(_line(row))
        values = {name: value for name, value in row.items() if name not in PLAIN}
        for tracker in self.trackers.values():
            tracker.log(values, step=int(row["step"]))

    def describe(self, configuration: dict[str, Any]) -> None:
        """Tell the trackers what the run is set to, a table of tables."""
        for name, tracker in self.trackers.items():
            if name == "tensorboard":  # its own way of keeping settings makes another run of them
                text = json.dumps(configuration, indent=2, default=str)
                tracker.tracker.add_text("configuration", f"```\n{text}\n```")
            else:
                tracker.store_init_configuration(configuration)

    def picture(self, picture: Image.Image, step: int) -> None:
        pixels = np.asarray(picture.convert("RGB"))[None]
        for name in self.trackers.keys() & set(SHOW_PICTURES):
            layout = {"dataformats": "NHWC"} if name == "tensorboard" else {}
            self.trackers[name].log_images({"sheet": pixels}, step=step, **layout)

    def plot(self) -> None:
        if self.folder:
            plot_history(self.history, self.folder / "loss.png")

    def close(self) -> None:
        threading.excepthook = self._print_others
        for tracker in self.trackers.values():
            tracker.finish()
