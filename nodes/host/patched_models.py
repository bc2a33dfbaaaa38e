"""Patches of files on a MODEL, all of them or none."""

from __future__ import annotations

import comfy.lora

from ...pipelines.weights.reading import StateDict


def patched(model, patch: StateDict, strength: float, name: str):
    """A clone of a MODEL with the patch of a file; weights that the file sets are mixed in by the strength.

    Raises ValueError where the host does not take all of it.
    """
    sets = {key: tensor for key, tensor in patch.items() if key.endswith(".set_weight")}
    rest = {key: tensor for key, tensor in patch.items() if key not in sets}
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    clone = model.clone()
    patches = comfy.lora.load_lora(rest, key_map, log_missing=False)
    taken = set(clone.add_patches(patches, strength))
    wanted = {key_map.get(key.split(".", 1)[0]) for key in rest}
    for key, tensor in sets.items():
        weight = key_map.get(key.removesuffix(".set_weight"))
        wanted.add(weight)
        if weight:
            taken |= set(clone.add_patches({weight: ("diff", (tensor,))}, strength, 1 - strength))
    if missing := len(wanted - taken):
        raise ValueError(f"{name}: {missing} of its {len(wanted)} layers are none of this model's.")
    return clone
