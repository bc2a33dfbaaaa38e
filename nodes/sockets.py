"""Sockets and widgets that several families share, and the pack's own types."""

from __future__ import annotations

from comfy_api.latest import io

from ..pipelines.pictures.objects import BACKGROUNDS, FRAMINGS

AddItType = io.Custom("ADD_IT")
EmbeddingOptimizerType = io.Custom("EMBEDDING_OPTIMIZER")
ExemplarEncoderType = io.Custom("EXEMPLAR_ENCODER")
FitType = io.Custom("FIT")
GuidanceType = io.Custom("GUIDANCE")
LearnedObjectType = io.Custom("LEARNED_OBJECT")
LocalRegionType = io.Custom("LOCAL_REGION")

FARTHEST = 16384  # px, the largest picture the host makes
LARGEST_SEED = 0xFFFFFFFFFFFFFFFF  # the host's


def box_inputs(side: int, what: str) -> list[io.Input]:
    """Optional widgets of a box; `side` px is the default of width and height, `what` ends the tooltips."""

    def distance(name: str, default: int, tooltip: str) -> io.Input:
        return io.Int.Input(name, default=default, min=0, max=FARTHEST, optional=True, tooltip=f"{tooltip} {what}")

    return [
        distance("x", 0, "Left side"),
        distance("y", 0, "Upper side"),
        distance("width", side, "Width"),
        distance("height", side, "Height"),
    ]


def bounding_box_input(tooltip: str) -> io.Input:
    """The host's own boxes; only by a connection, the widgets of a box are `box_inputs`."""
    box = io.BoundingBox.Input("bounding_box", optional=True, force_input=True, tooltip=tooltip)
    box.default = None  # the host's own box at the upper left corner stands for no connection
    return box


def framing_input(tooltip: str) -> io.Input:
    """How an object's picture becomes the encoder's square."""
    return io.Combo.Input("framing", options=list(FRAMINGS), default="squash", optional=True, tooltip=tooltip)


def background_input(tooltip: str) -> io.Input:
    """What an encoder sees around an object. A workflow without a value of its own, made for an API, has "keep"."""
    return io.Combo.Input("background", options=list(BACKGROUNDS), default="auto", optional=True, tooltip=tooltip)


def strength_input(thing: str, advanced: bool | None = None) -> io.Input:
    """How far the context moves from the null to the object; `thing` is what the tooltip calls it."""
    return io.Float.Input(
        "strength",
        default=1.0,
        min=0.0,
        max=2.0,
        step=0.05,
        optional=True,
        advanced=advanced,
        tooltip=f"0 is no {thing}, 1 the {thing}, above 1 exaggerates it. Costs no UNet evaluations.",
    )


def seed_input(tooltip: str) -> io.Input:
    """A seed that the front end may draw anew for each run."""
    return io.Int.Input("seed", default=0, min=0, max=LARGEST_SEED, control_after_generate=True, tooltip=tooltip)


def conditioning_outputs() -> list[io.Output]:
    """The object's contexts and the null's, for any sampler."""
    return [
        io.Conditioning.Output(display_name="positive", tooltip="The object."),
        io.Conditioning.Output(display_name="negative", tooltip="No object: what the model learned in its place."),
    ]


def model_outputs() -> list[io.Output]:
    """What a loader of a whole model gives, before the method's own network."""
    return [
        io.Model.Output(display_name="model", tooltip="For the sampler; LoRAs and patches go in between."),
        io.Vae.Output(display_name="vae", tooltip="The VAE of that model."),
        io.ClipVision.Output(display_name="clip_vision", tooltip="The encoder that sees the object."),
    ]
