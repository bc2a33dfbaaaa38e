"""One object learned from a few pictures, and applied to the model wherever it goes."""

from comfy_api.latest import io

from ..pipelines.object_representation.learned_object import STRENGTHS, load
from ..pipelines.object_representation.training.learn import TRAINED, LearningSettings
from .host.object_nodes import FOLDER, apply_object, curve_of, learn_object, views_of, what_shows
from .model_list import ModelList
from .on_the_node import STAYS, on_the_node
from .sockets import (
    EmbeddingOptimizerType,
    ExemplarEncoderType,
    LearnedObjectType,
    bounding_box_input,
    conditioning_outputs,
    seed_input,
)

CONNECTED = "(connected)"
DEFAULT = LearningSettings()
MODELS = ModelList(
    what="learned object",
    files=("loras",),
    advice=f"Learn Object and `visual-insertion learn` make such files; put them into models/loras/{FOLDER} and press "
    "R to refresh the list.",
)


class LearnObject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LearnObject",
            display_name="Learn Object",
            category="visual insertion",
            description="Learns one object from three to five pictures of it, into a small file in models/loras that "
            "Apply Object uses again. Cancel keeps the best so far.",
            search_aliases=[
                "train object",
                "train lora",
                "dreambooth",
                "textual inversion",
                "custom diffusion",
                "teach object",
                "learn product",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Paint by Example (the object is painted under a mask) or an InstructPix2Pix model (it is "
                    "inserted without one), from its loader and without LoRAs.",
                ),
                io.Vae.Input("vae", tooltip="The VAE of the model."),
                io.ClipVision.Input("clip_vision", tooltip="From the loader."),
                io.Image.Input("images", tooltip="Three to five pictures of the object as one batch; one works too."),
                io.String.Input("name", default="my_object", tooltip="Of the file: NAME_00001.safetensors."),
                io.Combo.Input(
                    "train",
                    options=list(TRAINED),
                    default=DEFAULT.train,
                    tooltip="tokens: what the pictures are shown as; the model stays as it is. low-rank: a small "
                    "change of the model's attention, and the pictures as tokens. kv, attn2: whole matrices, as "
                    "published for real and for drawn objects. views: the pictures as tokens, nothing is trained.",
                ),
                io.Int.Input(
                    "steps", default=DEFAULT.steps, min=0, max=10000, tooltip="Of training. More: closer, and slower."
                ),
                seed_input("The same seed, pictures and settings make the same file on a CPU."),
                ExemplarEncoderType.Input(
                    "exemplar_encoder", optional=True, tooltip="From the loader, with Paint by Example."
                ),
                EmbeddingOptimizerType.Input(
                    "embedding_optimizer", optional=True, tooltip="From its loader, with an InstructPix2Pix model."
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the object is in each picture."),
                bounding_box_input("Where the object is, one box for each picture; goes before the mask."),
                io.Image.Input(
                    "others",
                    optional=True,
                    tooltip="Pictures of the same kind of thing, mixed in half and half: the model forgets less.",
                ),
                io.Int.Input(
                    "rank",
                    default=DEFAULT.rank,
                    min=1,
                    max=320,
                    optional=True,
                    advanced=True,
                    tooltip="Of low-rank: how much can change. 32 is a file of 3.2 MB for SD 1.5.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=DEFAULT.batch,
                    min=0,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="Pictures in a step. Smaller needs less memory. 0: 8 of up to 256 px, 2 of 512.",
                ),
                io.Float.Input(
                    "minutes",
                    default=0.0,
                    min=0.0,
                    max=1440.0,
                    step=0.5,
                    optional=True,
                    advanced=True,
                    tooltip="Stop after this long and keep the best so far; 0 is no limit.",
                ),
                io.String.Input(
                    "licence",
                    default="not stated",
                    optional=True,
                    advanced=True,
                    tooltip="Of the pictures, for the file's metadata.",
                ),
            ],
            is_output_node=True,
            **STAYS,
            outputs=[
                LearnedObjectType.Output(display_name="learned_object", tooltip="For Apply Object."),
                io.Image.Output(display_name="loss_curve", tooltip="How the loss fell; the ring is what was kept."),
                io.Image.Output(
                    display_name="preview", tooltip="The object as learned, painted into its first picture."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        vae,
        clip_vision,
        images,
        name,
        train,
        steps,
        seed,
        exemplar_encoder=None,
        embedding_optimizer=None,
        mask=None,
        bounding_box=None,
        others=None,
        rank=DEFAULT.rank,
        batch_size=DEFAULT.batch,
        minutes=0.0,
        licence="not stated",
    ) -> io.NodeOutput:
        settings = LearningSettings(train=train, steps=steps, rank=rank, seed=seed, minutes=minutes, batch=batch_size)
        learned, path, learning, preview = learn_object(
            model,
            vae,
            what_shows(clip_vision, exemplar_encoder, embedding_optimizer),
            clip_vision.image_size,
            views=views_of(images, mask, bounding_box),
            others=[] if others is None else views_of(others, None, None, "other picture"),
            settings=settings,
            name=name,
            licence=licence,
        )
        told = f"{FOLDER}/{path.name}: {len(learning.losses)} steps in {learning.seconds:.0f} s."
        return io.NodeOutput(learned, curve_of(learning), preview, ui=on_the_node(cls, told, picture=preview))


class ApplyObject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ApplyObject",
            display_name="Apply Object",
            category="visual insertion",
            description="Lets the model know an object that was learned: patches it, and gives the object's tokens "
            "in the place of a picture's. Chain several for several objects.",
            search_aliases=["load object", "learned object", "load lora", "use object", "insert learned object"],
            inputs=[
                io.Model.Input("model", tooltip="The base that the object was learned on."),
                io.Combo.Input(
                    "name",
                    options=[CONNECTED, *MODELS.names()],
                    tooltip=f"A file of models/loras/{FOLDER}; {CONNECTED}: what Learn Object hands over.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=STRENGTHS[0],
                    max=STRENGTHS[1],
                    step=0.05,
                    tooltip="0 leaves the model as it is, 1 is as learned.",
                ),
                LearnedObjectType.Input("learned_object", optional=True, tooltip="From Learn Object; before the name."),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="Of Paint by Example Encode: another picture of the object to show beside what was "
                    "learned. Without it the first picture it was learned from is shown.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="Of the same node; without it the one that the object was learned beside.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="With the object's patch; for the sampler."),
                *conditioning_outputs(),
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return name == CONNECTED or MODELS.check(name)

    @classmethod
    def execute(cls, model, name, strength, learned_object=None, positive=None, negative=None) -> io.NodeOutput:
        if learned_object is None and name == CONNECTED:
            raise ValueError("No object is chosen: pick a file, or connect Learn Object.")
        learned = learned_object or load(MODELS.find(name))
        shown = dict(positive=positive, negative=negative)
        return io.NodeOutput(*apply_object(model, learned, strength=strength, **shown, name=name))
