"""Key names of public UNet files: diffusers, LDM (the original, and ComfyUI's), averaged copies, patch files.

Names only, no tensors. How many levels and layers a UNet has is read from the names themselves. Sources: the module
trees of diffusers' `UNet2DConditionModel` and of LDM's `UNetModel`, and LDM's `LitEma`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LDM_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")  # of a UNet in a file, the fullest first

_ENDS = {  # diffusers -> LDM
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_KINDS = {4: "a text-to-image model", 8: "an InstructPix2Pix model", 9: "an inpainting model"}


def kind_of(channels: int) -> str:
    """What a UNet of so many input channels is, in words for an error."""
    return _KINDS.get(channels, "another kind of model") if isinstance(channels, int) else "no model"


@dataclass(frozen=True)
class UNetShape:
    """ResNets of each level in the order of the network: down from the finest, up from the coarsest."""

    down: tuple[int, ...]
    up: tuple[int, ...]
    up_attends: tuple[bool, ...]  # a level with attention has its upsampler one place later


def shape_of_diffusers(names: Iterable[str]) -> UNetShape:
    """The shape that diffusers names describe."""
    resnets: dict[tuple[str, int], set[int]] = {}
    attends = set()
    for name in names:
        match name.split("."):
            case ["down_blocks" | "up_blocks" as side, level, "resnets", index, *_] if level.isdigit():
                resnets.setdefault((side, int(level)), set()).add(int(index))
            case ["up_blocks", level, "attentions", *_] if level.isdigit():
                attends.add(int(level))

    def counts(side: str) -> tuple[int, ...]:
        return tuple(len(indices) for (block, _), indices in sorted(resnets.items()) if block == side)

    up = counts("up_blocks")
    return UNetShape(counts("down_blocks"), up, tuple(level in attends for level in range(len(up))))


def shape_of_ldm(names: Iterable[str]) -> UNetShape:
    """The shape that LDM names (without a prefix) describe."""
    inside: dict[tuple[str, int], set[str]] = {}  # (side, block) -> "0.op", "1.conv", ...
    for name in names:
        side, *rest = name.split(".")
        if side in ("input_blocks", "output_blocks") and len(rest) > 2 and rest[0].isdigit():
            inside.setdefault((side, int(rest[0])), set()).add(".".join(rest[1:3]))
    down, up, attends = [0], [0], [False]
    for (side, number), parts in sorted(inside.items()):
        if side == "input_blocks" and number:
            if "0.op" in parts:
                down.append(0)
            else:
                down[-1] += 1
        elif side == "output_blocks":
            up[-1] += 1
            attends[-1] |= "1.transformer_blocks" in parts
            if parts & {"1.conv", "2.conv"}:
                up.append(0)
                attends.append(False)
    return UNetShape(tuple(down), tuple(up), tuple(attends))


def modules(shape: UNetShape) -> dict[str, str]:
    """diffusers module -> LDM module, for every module that such a UNet can have."""
    table = dict(_ENDS)

    def resnet(theirs: str, ours: str) -> None:
        table.update({f"{theirs}.{a}": f"{ours}.{b}" for a, b in _RESNET.items()})

    block = 1
    for level, count in enumerate(shape.down):
        for index in range(count):
            resnet(f"down_blocks.{level}.resnets.{index}", f"input_blocks.{block}.0")
            table[f"down_blocks.{level}.attentions.{index}"] = f"input_blocks.{block}.1"
            block += 1
        table[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
        block += 1
    resnet("mid_block.resnets.0", "middle_block.0")
    table["mid_block.attentions.0"] = "middle_block.1"
    resnet("mid_block.resnets.1", "middle_block.2")
    block = 0
    for level, count in enumerate(shape.up):
        for index in range(count):
            resnet(f"up_blocks.{level}.resnets.{index}", f"output_blocks.{block}.0")
            table[f"up_blocks.{level}.attentions.{index}"] = f"output_blocks.{block}.1"
            block += 1
        place = 1 + shape.up_attends[level]
        table[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{block - 1}.{place}.conv"
    return table


def _rename(name: str, table: dict[str, str]) -> str:
    """The name with its module renamed; one that is in no module of the table stays, and a caller sees it."""
    module = name
    while "." in module:
        module = module.rpartition(".")[0]
        if module in table:
            return table[module] + name[len(module) :]
    return name


def to_ldm(names: Iterable[str]) -> dict[str, str]:
    """diffusers name -> LDM name (without a prefix); unknown names stay as they are."""
    names = list(names)
    table = modules(shape_of_diffusers(names))
    return {name: _rename(name, table) for name in names}


def to_diffusers(names: Iterable[str]) -> dict[str, str]:
    """LDM name (without a prefix) -> diffusers name; unknown names stay as they are."""
    names = list(names)
    table = {ours: theirs for theirs, ours in modules(shape_of_ldm(names)).items()}
    return {name: _rename(name, table) for name in names}


def averaged_name(name: str) -> str:
    """Where an LDM checkpoint keeps the averaged (EMA) copy of a UNet tensor: LitEma drops the dots."""
    return "model_ema." + f"diffusion_model.{name}".replace(".", "")


def attention_name(name: str) -> str:
    """Today's diffusers name of a tensor in a VAE's attention, which was another one when SD 1.5 was published."""
    for before, now in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
        name = name.replace(f".{before}.", f".{now}.")
    return name


def patch_module(module: str) -> str:
    """A diffusers module in a LoRA file, as kohya, LyCORIS, ComfyUI and diffusers itself know it."""
    return "lora_unet_" + module.replace(".", "_")
