"""Paint by Inpaint's test set: PIPE joined with PIPE_Masks by (img_id, ann_id), arXiv 2404.18212.

Of PIPE: source_img, target_img, Instruction_VLM-LLM, Instruction_Class, img_id, ann_id. Of PIPE_Masks: mask, of the
original's size, img_id, ann_id. PIPE has no object pictures: the object is cut out of the target, so a method that
copies pixels can be perfect here.
"""

from __future__ import annotations

from pathlib import Path

from ..cases import Benchmark, Case, mask_box
from .files import Rows, cut_out, decode, to_mask

SOURCE = (
    "Needed are the test files of the Hugging Face data sets paint-by-inpaint/PIPE and paint-by-inpaint/PIPE_Masks: "
    "PIPE/data/test-*.parquet and PIPE_Masks/data/test-*.parquet in one folder."
)
ABOUT = (
    "Paint by Inpaint's test pairs (COCO). The object picture is the object of the target, cut out along its mask: the "
    "same pixels, so identity says little unless copy_paste is read beside it. The paper's figures were made with "
    "texts, not pictures of objects."
)


def read_pipe(folder: Path) -> Benchmark:
    """The test pairs in a folder with PIPE and PIPE_Masks. Raises FileNotFoundError, ValueError."""
    keys = ("img_id", "ann_id")
    pairs = Rows(
        folder / "PIPE" / "data",
        "test-*.parquet",
        ("source_img", "target_img", *keys),
        ("Instruction_VLM-LLM", "Instruction_Class"),
        SOURCE,
    )
    masks = Rows(folder / "PIPE_Masks" / "data", "test-*.parquet", ("mask", *keys), (), SOURCE)
    wanted, offered = (list(zip(*(map(str, rows.column(key)) for key in keys), strict=True)) for rows in (pairs, masks))
    place = {key: index for index, key in enumerate(offered)}
    if len(place) < len(offered):
        raise ValueError(f"{masks.paths[0]} has the same (img_id, ann_id) twice. {SOURCE}")
    if absent := [key for key in wanted if key not in place]:
        raise ValueError(
            f"PIPE_Masks lacks {len(absent)} of {len(wanted)} (img_id, ann_id), such as {absent[0]}. {SOURCE}"
        )

    def read(index: int) -> Case:
        row, where = pairs[index], pairs.where(index)
        scene, target = (decode(row[name], f"{where}, {name}").convert("RGB") for name in ("source_img", "target_img"))
        found = masks[place[wanted[index]]]
        where = masks.where(place[wanted[index]])
        mask = to_mask(decode(found["mask"], where), target.size, where)
        pictured, shape = cut_out(target, mask, mask_box(mask))
        instruction = row.get("Instruction_VLM-LLM") or row.get("Instruction_Class") or ""
        return Case("_".join(wanted[index]), scene, (pictured,), target, mask, (shape,), instruction)

    return Benchmark("pipe", ABOUT, tuple("_".join(key) for key in wanted), read)
