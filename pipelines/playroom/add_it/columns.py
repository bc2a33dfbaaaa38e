"""Scenes as tensors on the device where everything learns: no loader, every batch is gathered there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..world.dataset import Arrays
from .captions import MOST_TOYS

COPIED_AT_ONCE = 4096  # pictures


@dataclass
class Scenes:
    """Rendered scenes; see `scenes.render_arrays` for the columns. Pictures are uint8 [N,3,128,128]."""

    picture: Tensor
    count: Tensor
    box: Tensor
    label: Tensor
    name: Tensor
    tokens: Tensor
    slots: Tensor
    view: Tensor

    @classmethod
    def of(cls, arrays: Arrays, device: torch.device) -> Scenes:
        """The arrays on a device."""
        columns = {name: torch.from_numpy(array) for name, array in arrays.items()}
        for name in ("picture", "view"):
            columns[name] = _moved(arrays[name], device)
        return cls(**{name: column.to(device) for name, column in columns.items()})

    def __len__(self) -> int:
        return len(self.picture)

    @property
    def present(self) -> Tensor:
        """Which of the three places for toys are taken, bool [N,3]."""
        return torch.arange(MOST_TOYS, device=self.count.device)[None] < self.count[:, None]

    @property
    def view_index(self) -> Tensor:
        """Where each toy's view is, int64 [N,3]; 0 where there is no toy."""
        present = self.present
        first = torch.cumsum(present.flatten().long(), 0).view(present.shape) - 1
        return torch.where(present, first, torch.zeros_like(first))


def _moved(pictures: np.ndarray, device: torch.device) -> Tensor:
    parts = []
    for start in range(0, len(pictures), COPIED_AT_ONCE):
        part = torch.from_numpy(pictures[start : start + COPIED_AT_ONCE]).to(device)
        parts.append(part.movedim(-1, 1).contiguous())
    return torch.cat(parts) if parts else torch.from_numpy(pictures).movedim(-1, 1).to(device)


def signed(pictures: Tensor) -> Tensor:
    """uint8 0..255 -> float -1..1, in any layout."""
    return pictures.float() / 127.5 - 1


def mirrored(boxes: Tensor, flip: Tensor, width: float) -> Tensor:
    """Boxes [B,K,4] as x0, y0, x1, y1 in pictures of this width, where `flip` [B] says so in the mirrored ones."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    flipped = torch.stack([width - x1, y0, width - x0, y1], -1)
    return torch.where(flip[:, None, None], flipped, boxes)


def touched_cells(boxes: Tensor, present: Tensor, cells: int, cell: float) -> Tensor:
    """Which of cells x cells latent cells, each `cell` px wide, a toy's box touches: float [B,1,cells,cells]."""
    x0, y0, x1, y1 = (boxes / cell).unbind(-1)
    grid = torch.arange(cells, device=boxes.device)
    across = (grid + 1 > x0[..., None]) & (grid < x1[..., None])
    down = (grid + 1 > y0[..., None]) & (grid < y1[..., None])
    inside = down[..., :, None] & across[..., None, :] & present[..., None, None]
    return inside.any(1)[:, None].float()
