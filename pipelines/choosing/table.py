"""The table of a sweep: what was scored in each cell, which cell goes on, and the sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from ..pictures.checks import rgb
from ..pictures.files import pil_pictures
from .sheet import labelled_sheet
from .sweep import Cell
from .terms import Terms


@dataclass(frozen=True)
class Table:
    """The terms of every run, cell after cell, in each cell seed after seed."""

    cells: list[Cell]
    seeds: int  # of each cell
    terms: list[Terms]
    picked: int | None = None  # the number of the cell that was asked for

    def score(self, cell: int) -> float:
        """The mean score of a cell's seeds."""
        return sum(one.score for one in self._of(cell)) / self.seeds

    @property
    def chosen(self) -> int:
        """The number of the cell that goes on: the one that was asked for, or the first with the best score."""
        if self.picked is not None:
            return self.picked
        return max(range(len(self.cells)), key=lambda cell: (self.score(cell), -cell))

    @property
    def run(self) -> int:
        """The number of the chosen cell's best run."""
        first = self.chosen * self.seeds
        return max(range(first, first + self.seeds), key=lambda run: (self.terms[run].score, -run))

    def text(self) -> str:
        """A line for each cell from the best to the worst, and what is said of the chosen cell's best run."""
        order = sorted(range(len(self.cells)), key=lambda cell: -self.score(cell))
        lines = [self._line(cell) for cell in order]
        lines.append(
            f"seed {self.run % self.seeds + 1} of {self.seeds} in the chosen cell: {self.terms[self.run].text()}"
        )
        return "\n".join(lines)

    def sheet(self, pictures: Tensor) -> Image.Image:
        """The pictures [N,H,W,C] in 0..1 of all runs: object scales to the right, scene scales down.

        The seeds of a cell lie beside each other, and the chosen cell is framed.
        """
        columns = self.cells[-1].column * self.seeds
        shown: list[Image.Image] = pil_pictures(rgb(pictures).float().clamp(0, 1))
        captions = [f"{terms.score:.3f}" if terms.present else "nothing" for terms in self.terms]
        first_row = self.cells[: self.cells[-1].column]
        first = self.chosen * self.seeds
        return labelled_sheet(
            shown,
            captions,
            columns=columns,
            headings=[f"object {cell.guidance.object_scale:g}" for cell in first_row],
            sides=[f"scene {cell.guidance.scene_scale:g}" for cell in self.cells if cell.column == 1],
            chosen=range(first, first + self.seeds),
        )

    def _of(self, cell: int) -> Sequence[Terms]:
        return self.terms[cell * self.seeds : (cell + 1) * self.seeds]

    def _line(self, number: int) -> str:
        cell = self.cells[number]
        scales = f"object {cell.guidance.object_scale:g}, scene {cell.guidance.scene_scale:g}"
        absent = sum(not one.present for one in self._of(number))
        missing = f", nothing appeared in {absent} of {self.seeds}" if absent else ""
        chosen = " <- chosen" if number == self.chosen else ""
        return f"row {cell.row}, column {cell.column} ({scales}): score {self.score(number):.3f}{missing}{chosen}"
