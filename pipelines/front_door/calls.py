"""Names of settings, diffusers' and ours: what a caller writes becomes what our pipelines take, or is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

import torch

from ..sampling.latents import SEEDS

REFUSED = {  # diffusers' names that nothing here answers to, and what does
    "prompt": "this pipeline is shown its object: give objects=",
    "negative_prompt": "there is no negative prompt here; object_scale says how strongly the object is wanted",
    "prompt_embeds": "contexts are made of the object's pictures: give objects=",
    "negative_prompt_embeds": "contexts are made of the object's pictures: give objects=",
    "ip_adapter_image": "the object's pictures are objects=",
    "height": "the result has the scene's own size",
    "width": "the result has the scene's own size",
    "eta": "choose a sampler instead: sampler='euler_ancestral' draws noise in each step, 'euler' and 'ddim' do not",
    "callback_on_step_end": "give callback=, a function of (steps done, steps in all, latents)",
    "callback": "give callback=, a function of (steps done, steps in all, latents)",
    "return_dict": "what comes back always has .images",
    "timesteps": "give num_inference_steps=",
    "cross_attention_kwargs": "load a LoRA into pipe.own.pipeline, which is diffusers' own",
}


def own_names(
    given: Mapping[str, Any], aliases: Mapping[str, str], known: Collection[str], refused: Mapping[str, str]
) -> dict[str, Any]:
    """Settings by our names.

    Raises TypeError for one that is not known, saying which is meant, or that is given by two names.
    """
    own: dict[str, Any] = {}
    for name, value in given.items():
        target = aliases.get(name, name)
        if target not in known:
            reason = refused.get(name) or _nearest(name, {*known, *aliases})
            raise TypeError(f"{name}= is not taken here: {reason}.")
        if target in own:
            both = " and ".join(sorted(other for other in given if aliases.get(other, other) == target))
            raise TypeError(f"{both} are one setting; give one of them.")
        own[target] = value
    return own


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"{near[0]}= is meant, perhaps" if near else f"known are {', '.join(sorted(known))}"


def seeds_of(seed: int, generator: Any, count: int) -> list[int]:
    """A seed for each of so many pictures: consecutive ones, or drawn from a `torch.Generator`, or from one for each.

    Drawing moves a generator on, so the next call makes other pictures, as in diffusers. Raises ValueError for
    generators of another number.
    """
    if generator is None:
        return [(seed + number) % SEEDS for number in range(count)]
    generators = list(generator) if isinstance(generator, list | tuple) else [generator] * count
    if len(generators) != count:
        raise ValueError(f"{len(generators)} generators do not pair up with {count} pictures.")
    return [int(torch.randint(2**63 - 1, (), generator=one, device=one.device)) for one in generators]
