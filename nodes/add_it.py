"""Add-It: an object told or shown in a prompt is added to a scene, by attention to the scene, without training."""

import json

from comfy_api.latest import io

from ..pipelines.add_it.windows import BLEND, DOUBLE_UNTIL, REAL_BLEND, REAL_GAMMA, REAL_START, SINGLE_UNTIL
from ..pipelines.pictures.boxes import to_bounding_boxes
from ..pipelines.pictures.checks import check_result
from .host.add_it_forward import WAYS
from .host.add_it_nodes import add_it, blended_between, place_of
from .host.add_it_subject import picture_as_subject, prompt_with_subject
from .host.node_output import node_output
from .on_the_node import STAYS, on_the_node
from .sockets import AddItType


def prompt_inputs() -> list[io.Input]:
    """The prompt of the whole new picture, and which of its words are the new thing."""
    return [
        io.String.Input(
            "prompt",
            default="a cat sitting on a sofa wearing a red hat",
            multiline=True,
            dynamic_prompts=True,
            tooltip="The whole picture with the new thing in it: the scene's own prompt, and the thing.",
        ),
        io.String.Input(
            "subject",
            default="hat",
            tooltip="The thing to add in the prompt's own words; empty, nothing is blended.",
        ),
    ]


class AddItPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AddItPrompt",
            display_name="Add-It Prompt",
            category="visual insertion",
            description="A prompt that knows which of its words is the thing to add, so that Add-It can see where it "
            "appears and leave all else alone.",
            search_aliases=[
                "add object",
                "add-it",
                "text prompt subject",
                "insert by text",
                "clip text encode subject",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                *prompt_inputs(),
                io.Int.Input(
                    "occurrence",
                    default=0,
                    min=0,
                    max=99,
                    optional=True,
                    advanced=True,
                    tooltip="Which one, where the prompt has the subject several times; 0 says that there is only one.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="For the sampler, as positive.")],
        )

    @classmethod
    def execute(cls, clip, prompt, subject, occurrence=0) -> io.NodeOutput:
        return io.NodeOutput(prompt_with_subject(clip, prompt, subject, occurrence))


class AddItPictureSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AddItPictureSubject",
            display_name="Add-It Picture Subject",
            category="visual insertion",
            description="Says that the thing to add is the one shown by a picture: the tokens that Apply Style Model "
            "(FLUX Redux) put behind the text.",
            search_aliases=[
                "redux subject",
                "insert by picture",
                "shown object",
                "add-it redux",
                "image prompt subject",
            ],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="Text and picture, from Apply Style Model."),
                io.Conditioning.Input("text", tooltip="The text alone, what went into Apply Style Model."),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="For the sampler, as positive.")],
        )

    @classmethod
    def execute(cls, conditioning, text) -> io.NodeOutput:
        return io.NodeOutput(picture_as_subject(conditioning, text))


def knobs() -> list[io.Input]:
    """What Add-It's nodes have in common, with the paper's values for photographs."""

    def share(name: str, default: float, tooltip: str, advanced: bool | None = None) -> io.Input:
        return io.Float.Input(
            name,
            default=round(default, 3),
            min=0.0,
            max=1.0,
            step=0.001,
            optional=True,
            advanced=advanced,
            tooltip=tooltip,
        )

    return [
        io.Float.Input(
            "gamma",
            default=REAL_GAMMA,
            min=0.0,
            max=3.0,
            step=0.01,
            optional=True,
            tooltip="Higher: more of the new thing, lower: more of the scene. 1.05 for pictures that this model made, "
            "1.1 for photographs; 0 finds it picture by picture.",
        ),
        share(
            "start",
            REAL_START,
            "Share of the steps that is taken from the scene instead: higher keeps its structure, too high and nothing "
            "is added. 0.067 for pictures that this model made.",
        ),
        share(
            "blend_at",
            REAL_BLEND,
            "Share of the steps after which all but the new thing is set to the scene, once: earlier leaves more room "
            f"for shadows. {BLEND:g} for pictures that this model made.",
        ),
        share(
            "double_until",
            DOUBLE_UNTIL,
            "Share of the steps in which the first blocks look at the scene (FLUX's double blocks).",
            advanced=True,
        ),
        share(
            "single_until",
            SINGLE_UNTIL,
            "Share of the steps in which the other blocks look at the scene; the scene costs nothing after that.",
            advanced=True,
        ),
    ]


def mask_input() -> io.Input:
    """Where a blend leaves the model's own picture."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where the new thing may be, in place of what the model's attention says; from SAM 3, for instance.",
    )


def invert_input() -> io.Input:
    """Whether the scene goes its own way to noise."""
    return io.Boolean.Input(
        "invert",
        default=False,
        optional=True,
        advanced=True,
        tooltip="Find the scene's own way to noise first, at the cost of two evaluations for each step; else it is "
        "seen through fresh noise, as published. FLUX and Chroma.",
    )


def source_guidance_input() -> io.Input:
    """The number that FLUX's source row is guided by."""
    return io.Float.Input(
        "source_guidance",
        default=1.0,
        min=0.0,
        max=100.0,
        step=0.1,
        optional=True,
        advanced=True,
        tooltip="FLUX guidance of the scene's row: 1 for photographs, the sampler's own for pictures that it made.",
    )


class AddItAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AddItAttention",
            display_name="Add-It Attention",
            category="visual insertion",
            description="Lets a text-to-picture model see a scene while it draws, so that a prompt adds to it: no "
            "training, no mask, any sampler. FLUX.1, FLUX.2, Chroma; SD 1.5 and SDXL as an experiment.",
            search_aliases=[
                "add-it",
                "addit",
                "add object",
                "insert by text",
                "training free insertion",
                "extended attention",
                "shared attention",
                "reference only flux",
                "keep the scene",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A text-to-picture model; LoRAs and patches are welcome."),
                io.Latent.Input(
                    "source_latent", tooltip="The scene, encoded by the model's VAE at the size that is sampled."
                ),
                io.Conditioning.Input("source_conditioning", tooltip="The scene as it is, in the model's words."),
                *knobs(),
                io.Boolean.Input(
                    "blend",
                    default=True,
                    optional=True,
                    tooltip="Set all but the new thing to the scene once. Needs a subject (Add-It Prompt) or a mask.",
                ),
                mask_input(),
                source_guidance_input(),
                io.Int.Input(
                    "source_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    optional=True,
                    advanced=True,
                    tooltip="The noise that the scene is seen through.",
                ),
                io.Combo.Input(
                    "rows",
                    options=list(WAYS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Scene and picture together, or one after the other: less memory, but the weights "
                    "are read twice. auto goes by free memory.",
                ),
                invert_input(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For any sampler; let it run all steps, denoise 1."),
                AddItType.Output(display_name="add_it", tooltip="For Add-It Subject and Add-It Blend."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source_latent,
        source_conditioning,
        gamma=REAL_GAMMA,
        start=REAL_START,
        blend_at=REAL_BLEND,
        double_until=DOUBLE_UNTIL,
        single_until=SINGLE_UNTIL,
        blend=True,
        mask=None,
        source_guidance=1.0,
        source_seed=0,
        rows="auto",
        invert=False,
    ) -> io.NodeOutput:
        run = add_it(
            source_latent["samples"],
            source_conditioning,
            gamma=gamma,
            shares=dict(start=start, blend=blend_at, double_until=double_until, single_until=single_until),
            blends=blend,
            mask=mask,
            guidance=source_guidance,
            seed=source_seed,
            way=rows,
            inverts=invert,
        )
        return io.NodeOutput(run.patched(model), run)


class AddItSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AddItSubject",
            display_name="Add-It Subject",
            category="visual insertion",
            description="Where the model put the new thing, by its own attention: a rough mask, points and a box "
            "for SAM 3. After the sampler.",
            search_aliases=["attention map", "token map", "daam", "object mask", "sam points", "attention mask"],
            inputs=[
                AddItType.Input("add_it", tooltip="From Add-It Attention."),
                io.Image.Input("image", tooltip="The picture that this model sampled, decoded."),
            ],
            **STAYS,
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="Rough: one value for each token of the model."),
                io.String.Output(
                    display_name="points", tooltip="positive_coords of SAM3 Detect, of the first picture."
                ),
                io.BoundingBox.Output(display_name="bounding_box", tooltip="Around the mask."),
                io.Mask.Output(display_name="map", tooltip="How much the model looked at the subject's words, 0 to 1."),
            ],
        )

    @classmethod
    def execute(cls, add_it, image) -> io.NodeOutput:
        place = place_of(add_it, height=image.shape[1], width=image.shape[2])
        points = json.dumps([{"x": x, "y": y} for x, y in place.points])
        shown = on_the_node(cls, *dict.fromkeys([*place.notes, *add_it.notes]))
        return node_output(place.mask, points, to_bounding_boxes(place.boxes), place.map, ui=shown)


class AddItBlend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AddItBlend",
            display_name="Add-It Blend",
            category="visual insertion",
            description="The blend between two samplers: outside of the mask all is set to the scene at that noise "
            "level. For a mask that another model finds in the half-made picture; set blend of Add-It "
            "Attention off.",
            search_aliases=["blend latent", "latent composite noise", "restore latent", "add-it sam"],
            inputs=[
                AddItType.Input("add_it", tooltip="From Add-It Attention."),
                io.Model.Input("model", tooltip="The model that samples."),
                io.Latent.Input("latent", tooltip="output of the first sampler, which ends where the second begins."),
                io.Sigmas.Input("sigmas", tooltip="Those of the second sampler."),
                io.Mask.Input("mask", tooltip="Where the new thing is, in the picture decoded from denoised_output."),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="For the second sampler, without noise.")],
        )

    @classmethod
    def execute(cls, add_it, model, latent, sigmas, mask) -> io.NodeOutput:
        check_result(latent["samples"], "The latent")
        blended = blended_between(add_it, model, latent["samples"], sigmas, mask)
        return io.NodeOutput(latent | {"samples": blended})
