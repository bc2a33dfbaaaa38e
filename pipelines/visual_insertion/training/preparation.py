"""Pictures of triplets made ready for training: latents and vision tokens in files, once, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ...encoders.vision import Encoder
from ...pictures.folder import READERS
from ...pictures.objects import BACKGROUNDS, FRAMINGS, prepare_object
from ...provenance import data_name
from ...training.columns import Progress, Shards, encoded_shard
from ...training.encodings import note_use
from ...training.ranges import Count, Side, one_of
from ...triplets.folder import Triplets, read_folder, read_index, read_picture
from ...weights.reading import fingerprint
from .augmentation import Augmentation, augment_object, vary_pair
from .insertion_task import EncodedTriplets

SHARD = 256  # triplets per file
BATCH = 16  # triplets encoded at once
CHANGED = 16 / 255  # a pixel belongs to the object's region when a channel changes by more than this


@dataclass(frozen=True)
class PictureSettings:
    """How pictures become training material."""

    size: Side = 256  # px, the side of scene and target
    variants: Count = 2  # stored crops and flips of a pair: 1 the centre, 2 with its flip, more with random crops
    views: Count = 1  # pictures of an object; fewer are repeated
    framing: Annotated[str, one_of(FRAMINGS)] = "squash"
    background: Annotated[str, one_of(BACKGROUNDS)] = "keep"  # around the object; "mean", our advice, needs masks


class Objects:
    """The objects' pictures of a folder: as they are for a cache, or augmented (the task's `ObjectPictures`).

    `encoders` are "features" and, where there is a second one, "details".
    """

    def __init__(
        self,
        triplets: Triplets,
        settings: PictureSettings,
        encoders: Mapping[str, Encoder],
        augmentation: Augmentation,
        workers: int = 0,
    ):
        self.triplets = triplets
        self.settings = settings
        self.encoders = encoders
        self.augmentation = augmentation
        self.views = settings.views
        self.readers = ThreadPoolExecutor(workers or READERS, "objects")

    def picture(self, index: int, view: int, encoder: Encoder) -> Tensor:
        """An object's picture [3,size,size] for an encoder, 0..1, its background as the settings say."""
        triplet = self.triplets[index]
        settings = self.settings
        view %= len(triplet.objects)
        path = triplet.objects[view]
        picture = read_picture(path, mode=None)
        mask = read_picture(triplet.masks[view], "L") if triplet.masks else None
        try:
            ready = prepare_object(
                picture.movedim(0, -1)[None],
                mask,
                framing=settings.framing,
                background=settings.background,
                mean_colour=encoder.mean,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        size = (encoder.size, encoder.size)
        return F.interpolate(ready.movedim(-1, 1), size, mode="bicubic", antialias=True)[0].clamp(0, 1)

    def _augmented(self, index: int, view: int, seed: int) -> dict[str, Tensor]:
        pixels = {}
        for name, encoder in self.encoders.items():
            background = torch.tensor(list(encoder.mean))
            picture = augment_object(self.picture(index, view, encoder), background, self.augmentation, seed)
            pixels[name] = encoder.normalise(picture)
        return pixels

    def pixels(self, index: Tensor, view: Tensor, seed: Tensor) -> dict[str, Tensor]:
        rows = list(self.readers.map(self._augmented, index.tolist(), view.tolist(), seed.tolist()))
        return {name: torch.stack([row[name] for row in rows]) for name in self.encoders}


class Preparation:
    """Encodes the triplets of a folder into files beside each other, those that are not there yet.

    So many `workers` (0: as many as processors, at most 8) read the pictures of a batch while the one before it is
    encoded. Without `with_features` only the latents: vision tokens then come from augmented pictures, in training.
    """

    def __init__(
        self,
        folder: Path,
        vae: AutoencoderKL,
        encoders: Mapping[str, Encoder],
        settings: PictureSettings,
        with_features: bool = True,
        workers: int = 0,
    ):
        self.folder = folder
        self.triplets = read_folder(folder)
        self.vae = vae
        self.settings = settings
        self.encoders = encoders if with_features else {}
        self.objects = Objects(self.triplets, settings, self.encoders, Augmentation(), workers)
        self.readers = self.objects.readers
        self.name = fingerprint([vae, *(e.network for e in self.encoders.values())], settings, read_index(folder))

    def _pair(self, index: int) -> Tensor:
        """Scene and target of a triplet [2,variants,3,size,size], cut alike."""
        triplet = self.triplets[index]
        settings = self.settings
        pictures = [read_picture(path) for path in (triplet.scene, triplet.target)]
        if pictures[0].shape != pictures[1].shape:
            sizes = " and ".join(f"{x.shape[-1]}x{x.shape[-2]}" for x in pictures)
            raise ValueError(f"Scene and target of triplet {triplet.name} differ in size ({sizes} px).")
        pairs = [vary_pair(torch.stack(pictures), settings.size, n, index) for n in range(settings.variants)]
        return torch.stack(pairs, 1)

    def _views(self, index: int, encoder: Encoder) -> Tensor:
        """The pictures of a triplet's object [views,3,size,size], normalised for an encoder."""
        views = [self.objects.picture(index, view, encoder) for view in range(self.settings.views)]
        return encoder.normalise(torch.stack(views))

    @torch.no_grad()
    def _latents(self, pictures: Tensor) -> Tensor:
        """The VAE's mode [...,4,h,w] of pictures [...,3,size,size] in 0..1."""
        vae: Any = self.vae
        latents = vae.encode((2 * pictures.flatten(0, -4) - 1).to(vae.device, vae.dtype)).latent_dist.mode()
        return latents.float().cpu().unflatten(0, pictures.shape[:-3])

    def encode(self, rows: range) -> dict[str, Tensor]:
        """Columns of these triplets, `BATCH` at once."""
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        encoded = []
        ahead = self._read(batches[0])
        for following in [*batches[1:], None]:
            pictures, views = ahead
            if following:
                ahead = self._read(following)
            encoded.append(self._encode_batch(pictures, views))
        return {name: torch.cat([batch[name] for batch in encoded]) for name in encoded[0]}

    def _read(self, rows: range) -> tuple[Iterator[Tensor], dict[str, Iterator[Tensor]]]:
        """Pairs of these triplets, and the object's views for each encoder, being read from now on."""
        pairs = self.readers.map(self._pair, rows)
        return pairs, {
            name: self.readers.map(partial(self._views, encoder=encoder), rows)
            for name, encoder in self.encoders.items()
        }

    def _encode_batch(self, pairs: Iterator[Tensor], views: dict[str, Iterator[Tensor]]) -> dict[str, Tensor]:
        pictures = torch.stack(list(pairs))  # [rows,2,variants,3,size,size]
        scene, target = self._latents(pictures).unbind(1)
        scale: Any = self.vae.config
        changed = ((pictures[:, 1] - pictures[:, 0]).abs().amax(2) > CHANGED).float()
        columns = {
            "scene": scene.half(),
            "target": (target * scale.scaling_factor).half(),
            "region": F.max_pool2d(changed, self.settings.size // scene.shape[-1]).bool()[:, :, None],
        }
        for name, encoder in self.encoders.items():
            pixels = torch.stack(list(views[name]))  # [rows,views,3,size,size]
            tokens = encoder.tokens(pixels.flatten(0, 1)).half().cpu()
            columns[name] = tokens.unflatten(0, pixels.shape[:2])
        return columns

    def shards(self, cache: Path) -> dict[Path, range]:
        """The files of these triplets in a cache, there or not, and the rows of each."""
        count = len(self.triplets)
        parts = [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]
        return {cache / self.name / f"{rows.start:09d}-{len(rows)}.safetensors": rows for rows in parts}

    def run(self, cache: Path, progress: Progress | None = None, share: int = 0, shares: int = 1) -> None:
        """Encode one of several shares of the files into `cache`. An interrupted call leaves whole files only.

        Raises ValueError naming a picture that cannot be used, OSError for a full disk.
        """
        (cache / self.name).mkdir(parents=True, exist_ok=True)
        own = list(self.shards(cache).items())[share::shares]
        done = 0
        for path, rows in own:
            encoded_shard(path, partial(self.encode, rows))
            done += len(rows)
            if progress:
                progress(done, sum(len(rows) for _, rows in own))

    def read(self, cache: Path) -> EncodedTriplets:
        """What is encoded in `cache`, the files mapped; what is missing there is encoded first."""
        shards = [encoded_shard(path, partial(self.encode, rows)) for path, rows in self.shards(cache).items()]
        note_use(cache / self.name, data_name(self.folder), len(self.triplets))
        columns = {name: Shards([shard[name] for shard in shards]) for name in shards[0]}
        return EncodedTriplets(
            target=columns["target"],
            scene=columns["scene"],
            features=columns.get("features"),
            region=columns["region"],
            details=columns.get("details"),
        )
