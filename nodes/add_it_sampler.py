"""Add-It in one node: a scene, two prompts and a seed; the scene with the new thing, all else its own pixels."""

from comfy_api.latest import io

from ..pipelines.add_it.windows import DOUBLE_UNTIL, REAL_BLEND, REAL_GAMMA, REAL_START, SINGLE_UNTIL
from ..pipelines.layers.matting import object_layers
from ..pipelines.pictures.boxes import to_bounding_boxes
from ..pipelines.restoration.restore import restore
from .add_it import invert_input, knobs, mask_input, prompt_inputs, source_guidance_input
from .host.add_it_nodes import add_it
from .host.add_it_sampling import Sampling, add_to, encoded, padded_mask
from .host.add_it_subject import prompt_with_subject
from .host.node_output import node_output
from .host.run_progress import run_progress
from .on_the_node import STAYS, on_the_node
from .pix2pix import sampler_inputs
from .restoration import round_trip
from .sockets import seed_input

METHODS = ("Add-It", "SDEdit", "Prompt-to-Prompt")
MASKS = ("attention", "refined", "none")


class AddItSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AddItSampler",
            display_name="Add-It Sampler",
            category="visual insertion",
            description="Adds to a scene what a prompt tells: no training, no mask to paint. All that the new thing "
            "does not cover is the scene's own, pixel by pixel. FLUX.1, FLUX.2, Chroma.",
            search_aliases=[
                "add-it",
                "addit",
                "add object by text",
                "insert by text",
                "insert object",
                "put object",
                "text inpaint without mask",
                "visual insertion",
                "sdedit",
                "training free insertion",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A text-to-picture model; LoRAs and patches are welcome."),
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.Vae.Input("vae", tooltip="The VAE of that model."),
                io.Image.Input("scene", tooltip="The picture the object goes into; any size."),
                io.String.Input(
                    "scene_prompt",
                    default="a cat sitting on a sofa",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The scene as it is, in the model's words.",
                ),
                *prompt_inputs(),
                seed_input("Another seed, another place; with some seeds nothing is added."),
                io.Int.Input("steps", default=30, min=1, max=1000, tooltip="30 as published, 20 for the playroom."),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="1 for FLUX.1 dev, which is guided by a number; 3 to 5 for Chroma, FLUX.2 base and the "
                    "playroom.",
                ),
                *sampler_inputs("euler", "simple"),
                io.Float.Input(
                    "guidance",
                    default=3.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    optional=True,
                    tooltip="The number that FLUX.1 dev is guided by.",
                ),
                *knobs(),
                io.Combo.Input(
                    "blend_mask",
                    options=list(MASKS),
                    default="attention",
                    optional=True,
                    tooltip="What is left to the new thing when all else is set to the scene. attention: where the "
                    "model looked. refined: what changed there. none: no blending.",
                ),
                mask_input(),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="In place of prompt and subject: Add-It Prompt, Add-It Picture Subject or Playroom Picture "
                    "as Words, to show the thing by a picture.",
                ),
                io.String.Input(
                    "negative_prompt", default="", optional=True, advanced=True, tooltip="Counts where cfg is not 1."
                ),
                source_guidance_input(),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="Add-It",
                    optional=True,
                    advanced=True,
                    tooltip="To compare. SDEdit: the same run without a look at the scene. Prompt-to-Prompt: the "
                    "inverted scene's attention in place of a look at it; start counts as 0, and .2 to .4 make sense "
                    "for both windows.",
                ),
                invert_input(),
            ],
            **STAYS,
            outputs=[
                io.Image.Output(display_name="image", tooltip="The scene with the new thing."),
                io.Mask.Output(display_name="effect", tooltip="All that differs; where it is 0, the scene."),
                io.Mask.Output(display_name="object", tooltip="The object without shadow and reflection."),
                io.Image.Output(display_name="layer", tooltip="The object on transparent, RGBA."),
                io.BoundingBox.Output(display_name="bounding_box", tooltip="Around the object."),
                io.Image.Output(
                    display_name="sampled", tooltip="The model's own picture, before the scene is restored."
                ),
                io.String.Output(display_name="report", tooltip="What changed, and what Add-It has to remark."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        scene,
        scene_prompt,
        prompt,
        subject,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        guidance=3.5,
        gamma=REAL_GAMMA,
        start=REAL_START,
        blend_at=REAL_BLEND,
        double_until=DOUBLE_UNTIL,
        single_until=SINGLE_UNTIL,
        blend_mask="attention",
        mask=None,
        positive=None,
        negative_prompt="",
        source_guidance=1.0,
        method="Add-It",
        invert=False,
    ) -> io.NodeOutput:
        windows = dict(double_until=double_until, single_until=single_until)
        if method == "SDEdit":
            windows = dict.fromkeys(windows, 0.0)
        borrows = method == "Prompt-to-Prompt"
        if positive is None:
            positive = prompt_with_subject(clip, prompt, subject, occurrence=0)
        mask = padded_mask(mask, scene)
        refine = blend_mask == "refined" and mask is None
        run = add_it(
            encoded(vae, scene),
            prompt_with_subject(clip, scene_prompt, "", occurrence=0),
            gamma=gamma,
            shares=dict(start=0.0 if borrows else start, blend=blend_at, **windows),
            blends=blend_mask != "none" and not refine,
            mask=mask,
            guidance=source_guidance,
            seed=seed ^ 1,
            inverts=invert or borrows,
            sharing="prompt_to_prompt" if borrows else "extended",
        )
        sampled, where = add_to(
            model,
            vae,
            scene,
            run,
            positive=positive,
            negative=prompt_with_subject(clip, negative_prompt, "", occurrence=0),
            sampling=Sampling(seed, steps, cfg, guidance, sampler_name, scheduler),
            refine=refine,
        )
        restored = restore(
            scene,
            sampled,
            align_geometry=False,
            match_colour=False,  # the new thing keeps its colours; the blend has kept the scene's
            round_trip=round_trip(vae, scene),
            relevance=where,
            progress=run_progress(len(sampled)),
        )
        report = "\n\n".join([*run.notes, *(one.text() for one in restored.reports)])
        return node_output(
            restored.images,
            restored.effect,
            restored.objects,
            object_layers(scene, restored.images, restored.objects, restored.effect),
            to_bounding_boxes([[box] if box else [] for box in restored.boxes]),
            sampled,
            report,
            ui=on_the_node(cls, report, row_forwards=[run.row_forwards]),
        )
