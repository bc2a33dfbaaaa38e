"""Sampling with an InstructPix2Pix model that is shown an object instead of told an instruction."""

import comfy_extras.nodes_custom_sampler as custom_sampler
from comfy_api.latest import io

from ..pipelines.fitting.working_sizes import size_remark
from ..pipelines.sampling.guidance import Guidance
from ..pipelines.sampling.speed import EXACT, SPEEDS, Run, chosen, remark
from .host.conditionings import missing_patch
from .host.node_output import node_output
from .host.pix2pix_sampling import decode, prepare, presets_of, relevance_of, sample, working_size_of
from .host.three_branch_guider import ignored_patches
from .on_the_node import STAYS, on_the_node
from .sockets import GuidanceType, seed_input


def _options(node, name: str) -> list[str]:
    return next(i.options for i in node.define_schema().inputs if i.id == name)


def sampler_inputs(sampler: str, scheduler: str) -> list[io.Input]:
    """The host's samplers and schedulers, with these as the first choice."""
    return [
        io.Combo.Input(
            "sampler_name",
            options=_options(custom_sampler.KSamplerSelect, "sampler_name"),
            default=sampler,
            tooltip="What takes the steps; any will do.",
        ),
        io.Combo.Input(
            "scheduler",
            options=_options(custom_sampler.BasicScheduler, "scheduler"),
            default=scheduler,
            tooltip="How the steps are spread over the noise levels.",
        ),
    ]


def conditioning_inputs() -> list:
    return [
        io.Model.Input(
            "model", tooltip="An InstructPix2Pix or Paint by Inpaint UNet (8 input channels); LoRAs welcome."
        ),
        io.Vae.Input("vae", tooltip="The VAE of that model."),
        io.Image.Input("scene", tooltip="The picture the object goes into; any size."),
        io.Conditioning.Input("positive", tooltip="The object, from Embedding Optimizer."),
        io.Conditioning.Input("negative", tooltip="No object: the null the optimizer was trained with."),
        GuidanceType.Input("guidance", optional=True, tooltip="Guidance Control; without it 7.5 and 1.5."),
    ]


MASK_TOOLTIP = (
    "Optional: the object may only appear here. The latents outside stay the scene's; as pixels they still come out of "
    "the VAE. An unpainted mask counts as none."
)

_SPEED_TOOLTIP = (
    "exact: what the widgets say. balanced and fast set steps, sampler and scheduler themselves, fast the scene's "
    "scale to 1 too; the node says what ran. Measured on the toys, on photographs a guess."
)


class ImageConditionedPix2PixSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ImageConditionedPix2PixSampler",
            display_name="Image-Conditioned Pix2Pix Sampler",
            category="visual insertion",
            description="Puts the object into the scene: no mask, no prompt. Decode Scene gives back the scene's size.",
            search_aliases=[
                "insert object",
                "visual insertion",
                "add object",
                "put object",
                "place object",
                "add to scene",
                "insert image",
                "add image",
                "combine images",
                "compose",
                "swap object",
                "photo composite",
                "paint by inpaint",
                "instruct pix2pix image",
            ],
            inputs=[
                *conditioning_inputs(),
                seed_input(
                    "Another seed, another look of the object; its place changes only where the scene leaves it open."
                ),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="20 for a look, 50 for a keeper."),
                io.Combo.Input(
                    "sampler_name",
                    options=_options(custom_sampler.KSamplerSelect, "sampler_name"),
                    default="euler_ancestral",
                    tooltip="Euler ancestral is what the published models were shown with.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=_options(custom_sampler.BasicScheduler, "scheduler"),
                    default="normal",
                    tooltip="How the steps are spread over the noise levels.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1 the run starts from the noised scene.",
                ),
                io.Mask.Input("mask", optional=True, tooltip=MASK_TOOLTIP),
                io.Combo.Input("speed", options=list(SPEEDS), default=EXACT, optional=True, tooltip=_SPEED_TOOLTIP),
            ],
            **STAYS,
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="For Decode Scene."),
                io.Mask.Output(
                    display_name="relevance",
                    tooltip="Where the object mattered to the model, rough: a hint for Restore Scene. Costs nothing.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        vae,
        scene,
        positive,
        negative,
        seed,
        steps,
        sampler_name,
        scheduler,
        denoise,
        guidance=None,
        mask=None,
        speed=EXACT,
    ) -> io.NodeOutput:
        guidance = guidance or Guidance()
        preset = chosen(speed, presets_of(model))
        guider, latent = prepare(
            model,
            vae,
            scene,
            positive=positive,
            negative=negative,
            guidance=preset.guided(guidance) if preset else guidance,
            mask=mask,
            keep_scene=denoise < 1,
        )
        run = preset or Run(sampler_name, scheduler, steps)
        latent = sample(model, guider, latent, run, seed=seed, denoise=denoise)
        relevance = relevance_of(guider, latent, scene)
        shown = on_the_node(
            cls,
            f"{guider.evaluations} UNet evaluations",
            remark(speed, preset, guidance),
            ignored_patches(model.model_options),
            missing_patch(model, positive),
            size_remark(scene.shape[2], scene.shape[1], working_size_of(model)),
            unet_evaluations=[guider.evaluations],
        )
        return node_output(latent, relevance, ui=shown)


class ImageConditionedPix2PixGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ImageConditionedPix2PixGuider",
            display_name="Image-Conditioned Pix2Pix Guider",
            category="visual insertion",
            description="The sampler's inner part, for SamplerCustomAdvanced: any sampler, any sigmas, split runs.",
            search_aliases=["insert object guider", "visual insertion", "instruct pix2pix guider", "dual cfg guider"],
            inputs=[
                *conditioning_inputs(),
                io.Mask.Input("mask", optional=True, tooltip=MASK_TOOLTIP),
                io.Boolean.Input(
                    "keep_scene",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Start from the scene's latent; for sigmas that begin below full noise.",
                ),
            ],
            **STAYS,
            outputs=[
                io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced."),
                io.Latent.Output(display_name="latent", tooltip="For SamplerCustomAdvanced: empty, or the scene."),
            ],
        )

    @classmethod
    def execute(
        cls, model, vae, scene, positive, negative, guidance=None, mask=None, keep_scene=False
    ) -> io.NodeOutput:
        guider, latent = prepare(
            model, vae, scene, positive=positive, negative=negative, guidance=guidance, mask=mask, keep_scene=keep_scene
        )
        shown = on_the_node(cls, ignored_patches(model.model_options), missing_patch(model, positive))
        return io.NodeOutput(guider, latent, ui=shown)


class SceneDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SceneDecode",
            display_name="Decode Scene",
            category="visual insertion",
            description="VAE Decode that gives back the scene's own size, whatever it is.",
            search_aliases=["vae decode same size", "insert object decode", "visual insertion"],
            inputs=[
                io.Latent.Input("latent", tooltip="From the sampler."),
                io.Vae.Input("vae", tooltip="The VAE the scene was encoded with."),
                io.Image.Input("scene", tooltip="The picture whose size the result takes."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Of the scene's size; all pixels went through the VAE.")
            ],
        )

    @classmethod
    def execute(cls, latent, vae, scene) -> io.NodeOutput:
        return node_output(decode(vae, latent["samples"], scene))
