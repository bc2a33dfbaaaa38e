"""What accelerate's configuration says of dividing networks among processes, and what of it is done here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

VERSION_2 = "accelerate launch --use_fsdp --fsdp_version 2, or `fsdp_version: 2` in its configuration"
UNKNOWN = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params: run.accumulate and checkpointing=true save memory as well",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing: the recipe's own checkpointing=true does it",
}  # variables that must not be "true", and the entries they come from


@dataclass(frozen=True)
class ShardingPlan:
    """How networks are divided: what is gathered at once, and whether it is let go between forward and backward."""

    blocks: tuple[str, ...] | None  # classes that are gathered one by one; None is those that the networks name
    reshard_after_forward: bool = True


def _says(variables: Mapping[str, str], name: str, default: str = "false") -> bool:
    return variables.get(name, default).lower() in ("true", "1", "yes")


def sharding_plan(variables: Mapping[str, str] = os.environ) -> ShardingPlan | None:
    """The plan in the variables that `accelerate launch` sets; None where networks stay whole.

    Raises ValueError, with what to set instead, for what accelerate knows and this does not.
    """
    if _says(variables, "ACCELERATE_USE_DEEPSPEED"):
        raise ValueError(
            "accelerate is set to DeepSpeed, which is not supported here. To divide the networks among processes take "
            f"FSDP: {VERSION_2}. Where they fit whole, start with torchrun or MULTI_GPU."
        )
    if not _says(variables, "ACCELERATE_USE_FSDP"):
        return None
    version = variables.get("FSDP_VERSION", "1")
    if version != "2":
        raise ValueError(f"accelerate is set to version {version} of FSDP; here is version 2 alone: {VERSION_2}.")
    for name, advice in UNKNOWN.items():
        if _says(variables, name):
            raise ValueError(f"accelerate is set to {advice}. Set it to false.")
    policy = variables.get("FSDP_AUTO_WRAP_POLICY", "NO_WRAP").upper()
    reshard = _says(variables, "FSDP_RESHARD_AFTER_FORWARD", "true")
    if policy == "NO_WRAP":
        return ShardingPlan((), reshard)
    if policy != "TRANSFORMER_BASED_WRAP":
        raise ValueError(
            f"accelerate is set to fsdp_auto_wrap_policy {policy}; here are TRANSFORMER_BASED_WRAP and NO_WRAP."
        )
    names = variables.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "")
    blocks = tuple(name.strip() for name in names.split(",") if name.strip())
    return ShardingPlan(blocks or None, reshard)
