"""Paint by Inpaint's test set: PIPE joined with PIPE_Masks by (img_id, ann_id), arXiv 2404.18212.

Of PIPE: source_img, target_img, Instruction_VLM-LLM, Instruction_Class, img_id, ann_id. Of PIPE_Masks: mask, of the
original's size, img_id, ann_id. PIPE has no object pictures: the object is cut out of the target, so a method that
copies pixels can be perfect here.
"""

from __future__ import annotations

from pathlib import Path

from ..cases import Benchmark, Case
from .files import Rows, cut_out, decode, decode_rgb, to_mask

SOURCE = (
    "Needed are the test files of the Hugging Face data sets paint-by-inpaint/PIPE and paint-by-inpaint/PIPE_Masks: "
    "PIPE/data/test-*.parquet and PIPE_Masks/data/test-*.parquet in one folder."
)
ABOUT = (
    "Paint by Inpaint's test pairs (COCO). The object picture is the object of the target, cut out along its mask: the "
    "same pixels, so identity says little unless copy_paste is read beside it. The paper's figures were made with "
    "texts, not pictures of objects."
)


KEYS = ("img_id", "ann_id")


def read_pipe(folder: Path) -> Benchmark:
    """The test pairs in a folder with PIPE and PIPE_Masks. Raises FileNotFoundError, ValueError."""
    pairs = Rows(
        folder / "PIPE" / "data",
        "test-*.parquet",
        columns=("source_img", "target_img", *KEYS),
        optional=("Instruction_VLM-LLM", "Instruction_Class"),
        source=SOURCE,
    )
    masks = Rows(folder / "PIPE_Masks" / "data", "test-*.parquet", columns=("mask", *KEYS), source=SOURCE)
    keys = _keys(pairs)
    mask_rows = {key: index for index, key in enumerate(_keys(masks))}
    if len(mask_rows) < len(masks):
        raise ValueError(f"{masks.paths[0]} has the same (img_id, ann_id) twice. {SOURCE}")
    absent = [key for key in keys if key not in mask_rows]
    if absent:
        raise ValueError(
            f"PIPE_Masks lacks {len(absent)} of {len(keys)} (img_id, ann_id), such as {absent[0]}. {SOURCE}"
        )
    names = tuple("_".join(key) for key in keys)

    def read(index: int) -> Case:
        row = pairs[index]
        where = pairs.where(index)
        scene = decode_rgb(row, "source_img", where)
        target = decode_rgb(row, "target_img", where)
        mask_row = mask_rows[keys[index]]
        mask_where = masks.where(mask_row)
        mask = to_mask(decode(masks[mask_row]["mask"], mask_where), target.size, mask_where)
        object_picture, object_mask = cut_out(target, mask)
        return Case(
            names[index],
            scene,
            (object_picture,),
            target=target,
            mask=mask,
            object_masks=(object_mask,),
            instruction=row.get("Instruction_VLM-LLM") or row.get("Instruction_Class") or "",
        )

    return Benchmark("pipe", ABOUT, names, read)


def _keys(rows: Rows) -> list[tuple[str, ...]]:
    """The KEYS of each row."""
    return [tuple(map(str, key)) for key in zip(*map(rows.column, KEYS), strict=True)]
