"""MagicBrush's test set, its additions only, as Paint by Inpaint's tables have it.

A folder with edit_turns.json (a list of {input, mask, output, instruction}), global_descriptions.json ({img_id: {file:
caption}}) and images/<img_id>/. An addition: the instruction has the word add or put, and neither remove nor and.
Whether words or parts of words were meant the paper does not say; it has 144 of them.
The masks are free-form: what is transparent, or, without transparency, what is white in the mask and not in the scene.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ..cases import Benchmark, Case, to_size
from .files import cut_out, read_json, read_picture

SOURCE = (
    "Needed is MagicBrush's test set, unzipped: a folder with edit_turns.json, global_descriptions.json and images/. "
    "The publishers hand it out apart from the Hugging Face data set osunlp/MagicBrush; its page says where."
)
ABOUT = (
    "MagicBrush's test edits that add something. The object picture is the masked part of the target: the same pixels, "
    "with some background. The tables' methods were given texts."
)
NEEDED = ("input", "instruction", "mask", "output")


def is_addition(instruction: str) -> bool:
    """Whether an instruction adds an object and does nothing else."""
    words = set(re.findall(r"[a-z]+", instruction.lower()))
    return bool(words & {"add", "put"}) and not words & {"remove", "and"}


def free_form_mask(picture: Image.Image, scene: Image.Image, where: str) -> np.ndarray:
    """[H,W] bool of the scene's size. Raises ValueError when nothing is marked."""
    picture = picture.convert("RGBA").resize(scene.size, Image.Resampling.NEAREST)
    pixels = np.asarray(picture)
    mask = pixels[..., 3] < 128
    if not mask.any():
        mask = (pixels[..., :3] == 255).all(-1) & ~(np.asarray(scene) == 255).all(-1)
    if not mask.any():
        raise ValueError(f"{where} marks nothing: neither transparency nor white.")
    return mask


def read_magicbrush_add(folder: Path) -> Benchmark:
    """The additions in a folder. Raises FileNotFoundError, ValueError."""
    turns = read_json(folder / "edit_turns.json", list, SOURCE)
    captions = read_json(folder / "global_descriptions.json", dict, SOURCE)
    for number, turn in enumerate(turns):
        texts = turn if isinstance(turn, dict) else {}
        absent = [name for name in NEEDED if not isinstance(texts.get(name), str)]
        if absent:
            raise ValueError(f"{folder / 'edit_turns.json'}, entry {number} lacks {', '.join(absent)}. {SOURCE}")
    wrong = [name for name, files in captions.items() if not isinstance(files, dict)]
    if wrong:
        raise ValueError(f"{folder / 'global_descriptions.json'}, {wrong[0]} is no object. {SOURCE}")
    chosen = [turn for turn in turns if is_addition(turn["instruction"])]
    if not chosen:
        raise ValueError(f"{folder / 'edit_turns.json'} has no addition among {len(turns)} edits. {SOURCE}")
    names = tuple(Path(turn["output"]).stem for turn in chosen)

    def read(index: int) -> Case:
        turn = chosen[index]
        images = folder / "images" / turn["input"].split("-")[0]
        target = read_picture(images / turn["output"], SOURCE).convert("RGB")
        scene = to_size(read_picture(images / turn["input"], SOURCE).convert("RGB"), target.size)
        mask_file = images / turn["mask"]
        mask = free_form_mask(read_picture(mask_file, SOURCE), scene, str(mask_file))
        object_picture, _ = cut_out(target, mask)
        return Case(
            names[index],
            scene,
            (object_picture,),
            target=target,
            mask=mask,
            instruction=turn["instruction"],
            caption=captions.get(images.name, {}).get(turn["output"], ""),
            scene_caption=captions.get(images.name, {}).get(turn["input"], ""),
        )

    return Benchmark("magicbrush-add", ABOUT, names, read)
