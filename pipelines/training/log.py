"""What a run says about itself: JSON lines, TensorBoard, and the losses as a picture."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .plot import plot_history

PLAIN = ("step", "seconds")


def _line(row: dict[str, float]) -> str:
    """A row as a line of JSON, which knows no infinity."""
    return json.dumps({name: value if math.isfinite(value) else None for name, value in row.items()}) + "\n"


class Log:
    """Rows of numbers by name, each with its "step". Without a folder it only remembers.

    `history` are the rows up to the checkpoint a run goes on from: what was logged after it is taken back.
    """

    def __init__(self, folder: Path | None, history: list[dict[str, float]]):
        self.folder = folder
        self.history = list(history)
        self.board: Any = None
        self._print_others: Any = threading.excepthook
        if folder:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            threading.excepthook = self._print_error
            begun = history[-1]["step"] + 1 if history else 0
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=int(begun))
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
        for name in row.keys() - set(PLAIN):
            self.board.add_scalar(name, row[name], int(row["step"]))

    def picture(self, picture: Image.Image, step: int) -> None:
        if self.board:
            self.board.add_image("sheet", np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def plot(self) -> None:
        if self.folder:
            plot_history(self.history, self.folder / "loss.png")

    def close(self) -> None:
        threading.excepthook = self._print_others
        if self.board:
            self.board.close()
