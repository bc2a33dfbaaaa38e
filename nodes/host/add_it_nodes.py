"""What Add-It's nodes ask of a run before and after it samples."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor

from ...pipelines.add_it.extended_attention import Sharing
from ...pipelines.add_it.stages import mask_cells
from ...pipelines.add_it.subject_place import SubjectPlace, subject_place
from ...pipelines.add_it.windows import AddItSettings
from ...pipelines.pictures.masks import painted_mask
from .add_it_run import AddItRun
from .add_it_source import Source


def add_it(
    latents: Tensor,
    conditioning,
    *,
    gamma: float,
    shares: dict[str, float],
    blends: bool,
    mask: Tensor | None,
    guidance: float,
    seed: int,
    way: str = "auto",
    inverts: bool = False,
    sharing: Sharing = "extended",
) -> AddItRun:
    """A run for scenes as latents [S,C,h,w]; gamma 0 is found picture by picture, an unpainted mask counts as none.

    Raises ValueError for settings and a source that cannot be.
    """
    settings = AddItSettings(gamma=gamma or None, **shares)
    source = Source(latents, conditioning, guidance=guidance, seed=seed)
    return AddItRun(source, settings, mask=painted_mask(mask), blends=blends, way=way, inverts=inverts, sharing=sharing)


def place_of(run: AddItRun, *, height: int, width: int) -> SubjectPlace:
    """Where the last run's subject is in its pictures. Raises ValueError where the run did not look for it."""
    if run.map.total is None:
        raise ValueError(
            "This run has no subject map: give the sampler a prompt of Add-It Prompt (FLUX and Chroma), and let it run "
            "the steps around blend_at."
        )
    return subject_place(run.subject_maps(), height, width)


def blended_between(run: AddItRun, model, latents: Tensor, sigmas: Tensor, mask: Tensor) -> Tensor:
    """Latents [B,C,h,w] between two samplers, the scene outside of masks [B,H,W]; `sigmas` are the second sampler's.

    Raises ValueError for another size, and for a schedule without levels.
    """
    if not len(sigmas):
        raise ValueError("sigmas are empty: connect the second sampler's levels.")
    if latents.shape[1:] != run.source.latents.shape[1:]:
        raise ValueError(
            f"The latent has the shape {tuple(latents.shape)}, the source latent {tuple(run.source.latents.shape)}: "
            "the scene has to be encoded at the size that is sampled."
        )
    part = SimpleNamespace(
        model_sampling=model.get_model_object("model_sampling"), process_latent_in=model.model.process_latent_in
    )
    inside = model.model.process_latent_in(latents)
    cells = mask_cells(mask.to(latents), *latents.shape[-2:])
    return model.model.process_latent_out(run.blended(part, sigmas[0].to(latents), inside, cells=cells))
