"""Results in the order of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from ..pictures.checks import rgb
from ..pictures.files import pil_pictures
from .sheet import labelled_sheet
from .terms import Terms

COLUMNS = 4  # of a sheet


@dataclass(frozen=True)
class Ranking:
    """Results from the best to the worst."""

    terms: list[Terms]  # of each result, as they came
    order: list[int]  # numbers of the results

    @property
    def best(self) -> int:
        """The number of the best result, from 0 on."""
        return self.order[0]

    def text(self) -> str:
        """A line for each result, the best first; results are counted from 1."""
        lines = [f"{place}. result {number + 1}, {self.terms[number].text()}" for place, number in self._places()]
        if not any(terms.present for terms in self.terms):
            lines.append("Nothing appeared in any result: the order says little. Try other seeds or a higher scale.")
        return "\n".join(lines)

    def sheet(self, results: Tensor) -> Image.Image:
        """The results [N,H,W,C] in 0..1 in their order with their scores."""
        pictures: list[Image.Image] = pil_pictures(rgb(results).float().clamp(0, 1))
        captions = [f"{number + 1}: {self.terms[number].score:.3f}" for number in self.order]
        ordered = [pictures[number] for number in self.order]
        return labelled_sheet(ordered, captions, columns=min(COLUMNS, len(ordered)), chosen=[0])

    def _places(self) -> list[tuple[int, int]]:
        return list(enumerate(self.order, 1))


def ranked(terms: Sequence[Terms]) -> Ranking:
    """The ranking by score; of equal scores the earlier result is the better one. Raises ValueError for none."""
    if not terms:
        raise ValueError("There are no results to choose from.")
    order = sorted(range(len(terms)), key=lambda number: -terms[number].score)
    return Ranking(list(terms), order)
