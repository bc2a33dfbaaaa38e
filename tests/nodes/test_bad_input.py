"""Bad input: each has its clear error. One list feeds the tests and the table in docs/bad_input.md."""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_insertion_pack.devtools import demo
from visual_insertion_pack.pipelines.object_representation import learned_object
from visual_insertion_pack.pipelines.paint_by_example import exemplar_encoder
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.weights.layouts import to_ldm
from visual_insertion_pack.pipelines.weights.reading import read_weights
from visual_insertion_pack.tests import bad_commands
from visual_insertion_pack.tests.small_disks import full_disk

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "bad_input.md"
NAME = "under_test.safetensors"


class Kit:
    """What a case may use: good parts of every kind, and places for bad ones."""

    def __init__(self, comfy, folder, monkeypatch, models):
        self.comfy, self.folder, self.monkeypatch = comfy, folder, monkeypatch
        self.model, self.vae, self.clip_vision, self.optimizer = models
        self.file = comfy.base / "models" / "embedding_optimizers" / NAME
        self.canary = folder / "a program in a weight file was run"
        self.unet_file = comfy.base / "models" / "diffusion_models" / NAME
        self.unet_folder = comfy.base / "models" / "diffusers" / "under_test"
        self.checkpoint = comfy.base / "models" / "checkpoints" / NAME
        self.shipped = ROOT / "playroom_models"
        self.picture = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(0))
        self.scene = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))

    # nodes with good input where nothing else is given

    def encode(self, picture=None, **inputs):
        picture = self.picture if picture is None else picture
        return self.comfy(
            "ObjectImageEncode", clip_vision=inputs.pop("clip_vision", self.clip_vision), image=picture, **inputs
        )[0]

    def condition(self, seen=None, optimizer=None, **inputs):
        return self.comfy(
            "EmbeddingOptimizer",
            **dict(embedding_optimizer=optimizer or self.optimizer, clip_vision_output=seen or self.encode()),
            **inputs,
        )

    def sample(self, node="ImageConditionedPix2PixSampler", **changes):
        inputs = dict(model=self.model, vae=self.vae, scene=self.scene)
        inputs["positive"], inputs["negative"] = self.condition()
        if node.endswith("Sampler"):
            inputs |= dict(seed=0, steps=1, sampler_name="euler", scheduler="normal", denoise=1.0)
        return self.comfy(node, **(inputs | changes))[0]

    def result(self, **changes):
        return self.sample(**changes)["samples"]

    def two_objects(self):
        seen = self.encode(self.picture.repeat(2, 1, 1, 1))
        return dict(zip(("positive", "negative"), self.condition(seen, views="separate"), strict=True))

    def cut(self, scene=None, **inputs):
        """Local Region Crop."""
        scene = self.scene if scene is None else scene
        given = dict(expansion=0.5, working_size=64, regions="together") | inputs
        return self.comfy("LocalRegionCrop", image=scene, **given)

    def paste(self, image, region=None, **inputs):
        """Local Region Paste; into a window of the whole scene where no region is given."""
        given = dict(feather=16, colour_match=0.0, area="window") | inputs
        region = region or self.cut(mask=mask(1, 64, 64, ones=64))[2]
        return self.comfy("LocalRegionPaste", local_region=region, image=image, **given)

    def layers(self, node="SplitLayers", **changes):
        """Split Layers or Save Layers of a scene to which nothing was done."""
        inputs = dict(scene=self.scene, image=self.scene, object_mask=mask(1, 64, 64), effect_mask=mask(1, 64, 64))
        return self.comfy(node, **(inputs | changes))

    def save_layers(self, **changes):
        return self.layers("SaveLayers", **(dict(filename_prefix="bad") | changes))

    def restore(self, edited=None, **inputs):
        """Restore Scene; of the scene itself where no edited picture is given."""
        edited = self.scene if edited is None else edited
        return self.comfy("RestoreScene", **(dict(scene=self.scene, edited=edited) | inputs))

    def choose(self, images=None, **inputs):
        """Best Of; of the scene itself where no results are given."""
        images = self.scene if images is None else images
        given = dict(images=images, scene=self.scene, clip_vision=self.clip_vision, object_image=self.picture)
        return self.comfy("BestOf", **(given | inputs))

    def sweep(self, **changes):
        """Guidance Sweep of one step and one cell."""
        eye = dict(clip_vision=self.clip_vision, object_image=self.picture)
        scales = dict(object_scales="2.5", scene_scales="1.2", seeds=1, pick="best")
        settings = dict(seed=0, steps=1, sampler_name="euler", scheduler="normal")
        positive, negative = changes.pop("conditioning", None) or self.condition()
        inputs = dict(model=self.model, vae=self.vae, scene=self.scene, positive=positive, negative=negative)
        return self.comfy("GuidanceSweep", **(inputs | eye | scales | settings | changes))

    @cached_property
    def told(self):
        """What Playroom Text-to-Picture loads."""
        return self.comfy("PlayroomFlux")

    def prompt(self, text="a room with a red ball on the floor", subject="", **inputs):
        return self.comfy("AddItPrompt", clip=self.told[1], prompt=text, subject=subject, **inputs)[0]

    def add_it(self, **changes):
        """Add-It Attention on a scene of 8x8 cells."""
        inputs = dict(model=self.told[0], source_latent={"samples": torch.zeros(1, 4, 8, 8)})
        return self.comfy("AddItAttention", **(inputs | dict(source_conditioning=self.prompt()) | changes))

    def run_add_it(self, positive=None, size=8, **changes):
        """A step of a sampler with it."""
        positive = self.prompt() if positive is None else positive
        latent = {"samples": torch.zeros(1, 4, size, size)} | changes.pop("latent", {})
        settings = dict(seed=0, steps=2, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0)
        return self.comfy(
            "KSampler",
            **dict(model=self.add_it(**changes)[0], positive=positive, negative=positive, latent_image=latent),
            **settings,
        )

    def add(self, **changes):
        """Add-It Sampler."""
        model, clip, vae, _ = self.told
        inputs = dict(model=model, clip=clip, vae=vae, scene=self.scene, scene_prompt="a room", prompt="a red ball")
        settings = dict(subject="ball", seed=0, steps=2, cfg=1.0, sampler_name="euler", scheduler="simple")
        return self.comfy("AddItSampler", **(inputs | settings | changes))

    def place(self, **changes):
        """Place Object: the object's picture, cut out by a mask, in a box of the scene."""
        inputs = dict(scene=self.scene, object_image=self.picture, object_mask=mask(1, 48, 48, ones=24))
        return self.comfy("PlaceObject", **(inputs | dict(x=8, y=8, width=32, height=32) | changes))

    def fit(self, image=None, **inputs):
        """Fit for Edit."""
        image = self.scene if image is None else image
        return self.comfy("FitForEdit", image=image, **dict(model="custom", method="pad") | inputs)

    def undo(self, image, fit=None):
        """Undo Fit; of the scene where no fit is given."""
        return self.comfy("UndoFit", fit=fit or self.fit()[2], image=image)

    def two_parts(self):
        """A region cut with each of two parts of a mask."""
        parts = mask(1, 64, 64, ones=8) + mask(1, 64, 64, ones=8).flip(1, 2)
        return self.cut(mask=parts, regions="each")[2]

    def two_scenes(self):
        return self.scene.repeat(2, 1, 1, 1)

    def three_scenes(self):
        return self.scene.repeat(3, 1, 1, 1)

    def guider_latent(self, **inputs):
        positive, negative = self.condition()
        inputs |= dict(model=self.model, vae=self.vae, scene=self.scene, positive=positive, negative=negative)
        return self.comfy("ImageConditionedPix2PixGuider", **inputs)[1]["samples"]

    def scene_latent(self):
        """The scene's latent, as a run with a mask begins with it."""
        positive, negative = self.condition()
        inputs = dict(model=self.model, vae=self.vae, scene=self.scene, positive=positive, negative=negative)
        return self.comfy("ImageConditionedPix2PixGuider", **inputs, keep_scene=True)[1]

    def decode(self, samples, vae=None):
        return self.comfy("SceneDecode", latent={"samples": samples}, vae=vae or self.vae, scene=self.scene)

    def broken_vae(self):
        class Vae:
            def encode(self, pixels):
                return torch.zeros(len(pixels), 4, 8, 8)

            def decode(self, samples):
                return torch.full((len(samples), 64, 64, 3), float("nan"))

        return Vae()

    # files

    def load(self, content: bytes | None = None, **inputs):
        """The loader on a file, of this content or as it lies there."""
        if content is not None:
            self.file.write_bytes(content)
        return self.comfy("EmbeddingOptimizerLoader", name=NAME, **inputs)[0]

    def load_shipped(self, **inputs):
        """The loader on a copy of the shipped optimizer."""
        return self.load((self.shipped / "embedding_optimizer.safetensors").read_bytes(), **inputs)

    def shipped_optimizer(self):
        return read_weights(self.shipped / "embedding_optimizer.safetensors")

    def load_changed(self, change: Callable[[dict, dict], Any]):
        """The loader on the shipped optimizer after `change(tensors, metadata)`."""
        state, metadata = self.shipped_optimizer()
        change(state, metadata)
        save_file(state, self.file, metadata)
        return self.load()

    def load_with_settings(self, **changes):
        """The loader on the shipped optimizer with other settings."""
        return self.load_changed(
            lambda _, meta: meta.update(settings=json.dumps(json.loads(meta["settings"]) | changes))
        )

    def pickled(self, content, dump=torch.save):
        with open(self.file, "wb") as file:
            dump(content, file)
        return self.load()

    def models(self, spoil: Callable[[Path], Any]):
        """Playroom Models on a copy of the shipped folder that `spoil` has been in."""
        from visual_insertion_pack.nodes.host import playroom_models

        shutil.copytree(self.shipped, self.folder / "models")
        spoil(self.folder / "models")
        self.monkeypatch.setattr(playroom_models, "FOLDER", self.folder / "models")
        return self.comfy("PlayroomModels")

    def models_with(self, part: str, change: Callable[[dict], Any]):
        """Playroom Models after `change(tensors)` on one of its weight files."""

        def spoil(folder):
            state, _ = read_weights(folder / part)
            change(state)
            save_file(state, folder / part)

        return self.models(spoil)

    def unet(self, channels: int):
        """The playroom's MODEL with another number of input channels."""

        def change(folder):
            config = json.loads((folder / "unet/config.json").read_text("utf-8"))
            (folder / "unet/config.json").write_text(json.dumps(config | {"in_channels": channels}))
            path = folder / "unet/diffusion_pytorch_model.safetensors"
            state, _ = read_weights(path)
            first = state["conv_in.weight"]
            state["conv_in.weight"] = torch.cat([first, first], 1)[:, :channels].contiguous()
            save_file(state, path)

        return self.models(change)[0]

    def load_unet(self, content, **inputs):
        """Load Pix2Pix UNet on a file of these bytes or tensors."""
        self.unet_file.parent.mkdir(exist_ok=True)
        self.unet_file.write_bytes(content) if isinstance(content, bytes) else save_file(content, self.unet_file)
        return self.comfy("Pix2PixUNetLoader", name=NAME, **inputs)

    def load_unet_with(self, change: Callable[[dict], Any], **inputs):
        """The same on a checkpoint of the playroom's UNet after `change(tensors)`; names as in LDM."""
        state, _ = read_weights(self.shipped / UNET)
        names = to_ldm(state)
        whole = {f"model.diffusion_model.{names[name]}": tensor for name, tensor in state.items()}
        change(whole)
        return self.load_unet(whole, **inputs)

    def load_unet_folder(self, spoil: Callable[[Path], Any], **inputs):
        """The same on a copy of the playroom's folder that `spoil` has been in."""
        for part in ("unet", "scheduler"):
            shutil.copytree(self.shipped / part, self.unet_folder / part)
        spoil(self.unet_folder)
        return self.comfy("Pix2PixUNetLoader", name=self.unet_folder.name, **inputs)

    # Paint by Example

    def load_paint(self, content):
        """Load Paint by Example on a file of these bytes or tensors."""
        self.checkpoint.parent.mkdir(exist_ok=True)
        self.checkpoint.write_bytes(content) if isinstance(content, bytes) else save_file(content, self.checkpoint)
        return self.comfy("PaintByExampleLoader", name=NAME)

    def exemplar(self, image=None, width=128, **inputs):
        from visual_insertion_pack.nodes.host.managed_networks import ManagedExemplarEncoder

        encoder = exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(width, 128, blocks=1))
        given = dict(clip_vision=self.clip_vision, exemplar_encoder=ManagedExemplarEncoder(encoder))
        given["image"] = self.picture if image is None else image
        return self.comfy("PaintByExampleEncode", **(given | inputs))

    def paint(self, **changes):
        positive, negative = self.exemplar()
        given = dict(
            positive=positive, negative=negative, vae=self.vae, image=self.scene, mask=mask(1, 64, 64, ones=40)
        )
        return self.comfy("PaintByExampleConditioning", **(given | changes))

    # learned objects

    @cached_property
    def painters(self):
        """The playroom's Paint by Example."""
        return self.comfy("PaintByExamplePlayroomModels")

    def learn(self, **changes):
        model, vae, vision, encoder = self.painters
        given = dict(model=model, vae=vae, clip_vision=vision, exemplar_encoder=encoder, images=self.picture)
        return self.comfy("LearnObject", **(given | dict(name="bad", train="low-rank", steps=1, seed=0) | changes))

    def base(self):
        from visual_insertion_pack.nodes.host.object_learning import base_weights

        return learned_object.base_text(base_weights(self.painters[0]))

    def toy(self, **changes):
        """An object of the playroom's, changed."""
        parts = dict(tokens=torch.zeros(3, 128), null=torch.zeros(1, 128), patch={}, base=self.base())
        return learned_object.LearnedObject(**(parts | changes))

    def learned(self, **changes):
        """What Apply Object gives for such an object."""
        return self.apply(learned_object=self.toy(**changes))

    def apply(self, content=None, **changes):
        given = dict(model=self.painters[0], name="(connected)", strength=1.0)
        if content is not None:
            file = self.comfy.base / "models" / "loras" / NAME
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content) if isinstance(content, bytes) else save_file(content, file)
            given["name"] = NAME
        return self.comfy("ApplyObject", **(given | changes))

    # students

    def teach(self, content=None, **changes):
        """Apply Student with one of the playroom's, or with a file of this content."""
        given = dict(model=self.model, name="playroom: guidance")
        if content is not None:
            file = self.comfy.base / "models" / "loras" / NAME
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content) if isinstance(content, bytes) else save_file(content, file)
            given["name"] = NAME
        return self.comfy("ApplyStudent", **(given | changes))

    # parts of other dimensions

    def other_vision(self, width: int):
        from visual_insertion_pack.nodes.host.diffusers_models import build_clip_vision

        config = json.loads((self.shipped / "image_encoder/config.json").read_text("utf-8"))
        encoder = build_clip_vision(config | {"hidden_size": width})
        for parameter in encoder.model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        return encoder

    def other_optimizer(self, null="stored", clip_vision=None, **settings):
        old = self.optimizer.module.settings
        new = type(old)(**{**vars(old), **settings})
        save_file(embedding_optimizer.build(new).state_dict(), self.file, embedding_optimizer.metadata(new))
        return self.load(null=null, clip_vision=clip_vision)

    def other_vae(self, channels: int):
        class Vae:
            def encode(self, pixels):
                return torch.zeros(len(pixels), channels, pixels.shape[1] // 8, pixels.shape[2] // 8)

        return Vae()

    def finer_vae(self):
        class Vae:
            def encode(self, pixels):
                return torch.zeros(len(pixels), 4, pixels.shape[1] // 2, pixels.shape[2] // 2)

        return Vae()

    def fill_disk(self):
        with full_disk(self.folder / "disk", free=1000):
            demo.write(self.folder / "disk", {"result.png": bytes(100_000)})

    def block_folder(self):
        (self.folder / "results").write_text("a file where a folder should be")
        demo.write(self.folder / "results" / "demo", {"result.png": b"picture"})


class TextEncoder:
    """As much of a CLIP as an empty prompt needs: SD1.5's shape, one value."""

    def __init__(self, value=0.0):
        self.value = value

    def tokenize(self, text):
        return text

    def encode_from_tokens(self, tokens):
        return torch.full((1, 77, 768), self.value)


class Program:
    """Pickled, it touches a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def nan(tensor):
    return torch.full_like(tensor, float("nan"))


def mask(*size, ones=None):
    made = torch.zeros(*size)
    if ones is not None:
        made[..., :ones, :ones] = 1
    return made


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[:-1000])


def configure(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


def reshard(folder: Path, spoil: Callable[[Path], Any], **wrong_index):
    """The UNet of a folder as two shards, of which one is spoilt."""
    whole = folder / UNET
    state = load_file(whole)
    whole.unlink()
    placed = {name: f"shard-{number % 2}.safetensors" for number, name in enumerate(state)}
    for shard in sorted(set(placed.values())):
        save_file({name: state[name] for name in placed if placed[name] == shard}, whole.parent / shard)
    spoil(whole.parent / "shard-1.safetensors")
    index = whole.parent / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed} | wrong_index))


def edit(path: Path, change: Callable[[dict], Any]):
    state = load_file(path)
    change(state)
    save_file(state, path)


def channels(count: int):
    """A change of a checkpoint's UNet: so many input channels."""
    return lambda state: state.update({FIRST: torch.zeros(64, count, 3, 3)})


def save_pickle(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def needs_8(found, kind):
    return (
        "This sampler needs an InstructPix2Pix model whose UNet takes 8 channels (noise and scene); the one connected "
        f"takes {found}, which is {kind}. Use instruct-pix2pix-00-22000.safetensors"
    )


RELEASED = (
    "projection_layer.weight",
    *(f"mlp_fc{number}.{part}" for number in (1, 2) for part in ("weight", "bias")),
    *(f"attention_pooling.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")),
)
HTML = b"<!DOCTYPE html><html><body>You need to log in.</body></html>"


@dataclass(frozen=True)
class Case:
    node: str
    given: str
    error: str  # its beginning; FILE and FOLDER stand for paths
    run: Callable[[Kit], Any]


OBJECT, LOADER, OPTIMIZER = "Object Image Encode", "Load Embedding Optimizer", "Embedding Optimizer"
GUIDANCE, SAMPLER, GUIDER = "Guidance Control", "Image-Conditioned Pix2Pix Sampler", "Image-Conditioned Pix2Pix Guider"
DECODE, MODELS, DEMO = "Decode Scene", "Playroom Models", "`python dev.py demo`"
PRESET = "Insertion Models"
UNET_LOADER = "Load Pix2Pix UNet"
FIT, UNDO = "Fit for Edit", "Undo Fit"
DOCTOR = "Visual Insertion Doctor"
CROP, PASTE, BOX, SHAPE = "Local Region Crop", "Local Region Paste", "Box to Mask", "Arbitrary Mask"
SPLIT, SAVE, PLACE = "Split Layers", "Save Layers", "Place Object"
RESTORE = "Restore Scene"
SWEEP, CHOOSE = "Guidance Sweep", "Best Of"
ADD_PROMPT, ADD_PICTURE, ADD_ATTENTION = "Add-It Prompt", "Add-It Picture Subject", "Add-It Attention"
ADD_SUBJECT, ADD_BLEND, ADD_SAMPLER = "Add-It Subject", "Add-It Blend", "Add-It Sampler"
PICTURE_WORDS = "Playroom Picture as Words"
LEARN, APPLY, TEACH = "Learn Object", "Apply Object", "Apply Student"
PAINT_LOADER, EXEMPLAR, PAINT = "Load Paint by Example", "Paint by Example Encode", "Paint by Example Conditioning"

UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"
ENCODER, PROJECTION = "image_encoder/model.safetensors", "visual_projection.weight"
FIRST, CONFIG, AVERAGED = "model.diffusion_model.input_blocks.0.0.weight", "unet/config.json", "averaged (EMA)"

REFUSED = [
    Case(OBJECT, "a picture of one pixel", "The object's picture is too small: 1 x 1x1 px",
         lambda k: k.encode(mask(1, 1, 1, 3))),
    Case(OBJECT, "an empty batch", "The object's picture is too small: 0 x", lambda k: k.encode(k.picture[:0])),
    Case(OBJECT, "NaN in the picture", "The object's picture holds values that are not finite",
         lambda k: k.encode(nan(k.picture))),
    Case(OBJECT, "two channels", "The object must be pictures [B,H,W,C] with 1, 3 or 4 channels",
         lambda k: k.encode(k.picture[..., :2])),
    Case(OBJECT, "a mask of another size", "The object's mask is 32x32 px, its picture 48x48 px.",
         lambda k: k.encode(mask=mask(1, 32, 32, ones=9))),
    Case(OBJECT, "an empty mask among three", "The mask of the object's picture 1 covers 0 pixels",
         lambda k: k.encode(k.picture.repeat(3, 1, 1, 1), mask=frames(empty=1)[:, :48, :48])),
    Case(OBJECT, "a background to hide, and an unpainted mask", "background = mean hides what is around the object,",
         lambda k: k.encode(mask=mask(1, 48, 48), background="mean")),
    Case(OBJECT, "a mask of one pixel", "The mask of the object's picture 0 covers 1 pixels",
         lambda k: k.encode(mask=mask(1, 48, 48, ones=1))),
    Case(OBJECT, "NaN in the mask", "The object's mask holds values that are not finite",
         lambda k: k.encode(mask=nan(mask(1, 48, 48)))),
    Case(OBJECT, "two masks for three pictures", "2 masks do not pair up with 3 pictures of the object.",
         lambda k: k.encode(k.picture.repeat(3, 1, 1, 1), mask=mask(2, 48, 48, ones=9))),
    Case(OBJECT, "a wholly transparent picture", "The alpha channel of the object's picture 0 covers 0 pixels",
         lambda k: k.encode(torch.cat([k.picture, k.picture[..., :1] * 0], -1))),
    Case(OBJECT, "a background to hide, but nothing that says where it is",
         "background = mean hides what is around the object, but neither a mask nor",
         lambda k: k.encode(background="mean")),
    Case(LOADER, "a name that is gone", "There is no embedding optimizer 'gone.safetensors'. Folders searched: ",
         lambda k: k.comfy("EmbeddingOptimizerLoader", name="gone.safetensors")),
    Case(LOADER, "an empty file", "FILE is not a readable safetensors file (0 bytes)", lambda k: k.load(b"")),
    Case(LOADER, "a web page under that name", "FILE is not a readable safetensors file", lambda k: k.load(HTML)),
    Case(LOADER, "a file that is cut off", "FILE is not a readable safetensors file",
         lambda k: (shutil.copy(k.shipped / "embedding_optimizer.safetensors", k.file), truncate(k.file), k.load())),
    Case(LOADER, "a file with a damaged header", "FILE is not a readable safetensors file",
         lambda k: k.load(b"\x20" + bytes(7) + b"{" * 32 + bytes(64))),
    Case(LOADER, "a pickle that holds a program (it is not run)",
         "FILE is a pickle that cannot be read as plain tensors", lambda k: k.pickled({"weight": Program(k.canary)})),
    Case(LOADER, "the same as an old-style pickle", "FILE is a pickle that cannot be read as plain tensors",
         lambda k: k.pickled(Program(k.canary), pickle.dump)),
    Case(LOADER, "a damaged pickle", "FILE is a pickle that cannot be read as plain tensors",
         lambda k: k.load(b"PK\x03\x04" + bytes(100))),
    Case(LOADER, "a pickle with something else than a table of tensors", "FILE does not hold a plain table of tensors.",
         lambda k: k.pickled([1, 2, 3])),
    Case(LOADER, "a pickle with a table of tensors: it is read, but it does not say what it pairs with",
         "FILE is not an embedding optimizer of this pack: it carries no embedding optimizer settings.",
         lambda k: k.pickled(k.shipped_optimizer()[0])),
    Case(LOADER, "safetensors of another kind, a LoRA for instance",
         "FILE is not an embedding optimizer of this pack: it carries no embedding optimizer settings.",
         lambda k: k.load((k.shipped / VAE).read_bytes())),
    Case(LOADER, "settings of a kind this version does not know",
         "FILE is not an embedding optimizer of this pack: Unknown embedding optimizer variant 'new_resampler'",
         lambda k: k.load_changed(lambda _, meta: meta.update(settings=meta["settings"].replace("res", "new_res")))),
    Case(LOADER, "settings that ask for a billion blocks",
         "FILE does not describe a network that can be built: it asks for more than",
         lambda k: k.load_with_settings(blocks=1_000_000_000)),
    Case(LOADER, "heads that do not divide the width",
         "FILE is not an embedding optimizer of this pack: 'heads' must divide the context's width of 128; 7 does not",
         lambda k: k.load_with_settings(heads=7)),
    Case(LOADER, "heads that are no number",
         "FILE is not an embedding optimizer of this pack: 'heads' must be a whole number of 1 or more, not 'x'",
         lambda k: k.load_with_settings(heads="x")),
    Case(LOADER, "a setting that is not known",
         "FILE is not an embedding optimizer of this pack: there is no setting 'a'",
         lambda k: k.load_with_settings(a=1)),
    Case(LOADER, "settings nested without end",
         "FILE is not an embedding optimizer of this pack: what it has for settings is not valid JSON",
         lambda k: k.load_changed(lambda _, meta: meta.update(settings="[" * 100_000))),
    Case(LOADER, "quantised weights", "FILE holds weights that are not 16 or 32 bit floating point numbers (such",
         lambda k: k.load_changed(lambda state, _: state.update({n: t.to(torch.int8) for n, t in state.items()}))),
    Case(LOADER, "a released file of another shape",
         "FILE is not an embedding optimizer of this pack: its tensors are of no published shape: 1 missing",
         lambda k: k.pickled({name: torch.ones(16, 16) for name in RELEASED})),
    Case(LOADER, "a pickle whose tensor claims more than the file holds", "FILE holds fewer numbers than weight claims",
         lambda k: k.pickled({"weight": torch.ones(1).expand(100_000, 100_000)})),
    Case(LOADER, "a pickle, where torch is too old to read one safely",
         "FILE is a pickle, and torch 2.9.1 cannot keep one from running a program; torch 2.10 can.",
         lambda k: (k.monkeypatch.setattr(torch, "__version__", "2.9.1+cpu"), k.pickled({"weight": torch.ones(1)}))),
    Case(LOADER, "no name, through the API", "'name' must be that of one embedding optimizer, not None. Put the file",
         lambda k: k.comfy("EmbeddingOptimizerLoader", name=None)),
    Case(LOADER, "NaN weights", "FILE holds values that are not finite: queries",
         lambda k: k.load_changed(lambda state, _: state.update(queries=nan(state["queries"])))),
    Case(LOADER, "missing tensors", "FILE does not hold the tensors its own settings promise",
         lambda k: k.load_changed(lambda state, _: state.pop("queries"))),
    Case(LOADER, "tensors of another shape", "FILE does not hold the tensors its own settings promise",
         lambda k: k.load_changed(lambda state, _: state.update(queries=state["queries"][:3].contiguous()))),
    Case(LOADER, "null = blank picture without a CLIP vision model",
         "The null 'blank picture' is made with a CLIP vision model; connect or name one.",
         lambda k: k.load_shipped(null="blank picture")),
    Case(LOADER, "null = empty prompt without a text encoder",
         "The null 'empty prompt' is made with a text encoder; connect or name one.",
         lambda k: k.load_shipped(null="empty prompt")),
    Case(LOADER, "a blank picture seen by a CLIP vision model of another width",
         "This embedding optimizer reads vision tokens of width 128, but the vision encoder gives width 64.",
         lambda k: k.load_shipped(null="blank picture", clip_vision=k.other_vision(64))),
    Case(LOADER, "the text encoder of another model",
         "The null 'empty prompt' would be (77, 768), but this optimizer's contexts are (16, 128)",
         lambda k: k.load_shipped(null="empty prompt", clip=TextEncoder())),
    Case(LOADER, "an encoder with damaged weights",
         "The encoder that the null 'empty prompt' is made with gives NaN or infinity; load another copy.",
         lambda k: k.load_shipped(null="empty prompt", clip=TextEncoder(float("nan")))),
    Case(LOADER, "null = blank picture for an optimizer that reads two encoders",
         "The null 'blank picture' is of optimizers that read one encoder, and this one reads two.",
         lambda k: k.other_optimizer(detail_width=64, null="blank picture", clip_vision=k.clip_vision)),
    Case(OPTIMIZER, "the output of a CLIP vision model of another width",
         "This embedding optimizer reads vision tokens of width 128, but the vision encoder gives width 64.",
         lambda k: k.condition(k.encode(clip_vision=k.other_vision(64)))),
    Case(OPTIMIZER, "no second encoder's view, where the optimizer was trained with one",
         "This embedding optimizer was trained with a second encoder of width 64",
         lambda k: k.condition(optimizer=k.other_optimizer(detail_width=64))),
    Case(OPTIMIZER, "a second encoder's view, where the optimizer reads none",
         "The second encoder gives tokens of width 128; this embedding optimizer wants none.",
         lambda k: k.condition(detail_output=k.encode())),
    Case(OPTIMIZER, "a second encoder of another width",
         "The second encoder gives tokens of width 128; this embedding optimizer wants width 64.",
         lambda k: k.condition(optimizer=k.other_optimizer(detail_width=64), detail_output=k.encode())),
    Case(OPTIMIZER, "other pictures for the second encoder", "The second encoder saw 2 pictures, the first 1",
         lambda k: k.condition(
             optimizer=k.other_optimizer(detail_width=128), detail_output=k.encode(k.picture.repeat(2, 1, 1, 1))
         )),
    Case(GUIDANCE, "an object interval that ends before it starts",
         "The object interval must satisfy 0 <= start <= end <= 1; got 0.8 to 0.2.",
         lambda k: k.comfy("GuidanceControl", object_scale=7.5, scene_scale=1.5, object_start=0.8, object_end=0.2)),
    Case(GUIDANCE, "a scene interval that ends before it starts",
         "The scene interval must satisfy 0 <= start <= end <= 1; got 0.8 to 0.2.",
         lambda k: k.comfy("GuidanceControl", object_scale=7.5, scene_scale=1.5, scene_start=0.8, scene_end=0.2)),
    Case(SAMPLER, "a text-to-image model (4 input channels)", needs_8(4, "a text-to-image model"),
         lambda k: k.sample(model=k.unet(4))),
    Case(SAMPLER, "an inpainting model (9 input channels)", needs_8(9, "an inpainting model"),
         lambda k: k.sample(model=k.unet(9))),
    Case(SAMPLER, "an embedding optimizer for another model",
         "'positive' has width 64, but this model's cross-attention reads width 128",
         lambda k: k.sample(positive=k.condition(optimizer=k.other_optimizer(context_width=64))[0])),
    Case(SAMPLER, "the VAE of another kind of model",
         "The VAE gives latents of shape (1, 16, 8, 8), but this model works on 4 channels.",
         lambda k: k.sample(vae=k.other_vae(16))),
    Case(SAMPLER, "an empty conditioning",
         "'positive' is an empty conditioning; connect the Embedding Optimizer's positive.",
         lambda k: k.sample(positive=[])),
    Case(SAMPLER, "a conditioning without embedding",
         "'negative' holds no embedding; connect the Embedding Optimizer's negative.",
         lambda k: k.sample(negative=[[None, {}]])),
    Case(SAMPLER, "the token of Paint by Example", "'positive' comes from Paint by Example Encode, whose tokens mean",
         lambda k: k.sample(**dict(zip(("positive", "negative"), k.exemplar(), strict=True)))),
    Case(SAMPLER, "positive and negative swapped", "positive and negative are swapped: 'positive' holds no object,",
         lambda k: k.sample(**dict(zip(("negative", "positive"), k.condition(), strict=True)))),
    Case(SAMPLER, "NaN in a conditioning", "'positive' holds values that are not finite",
         lambda k: k.sample(positive=[[nan(k.condition()[0][0][0]), {}]])),
    Case(SAMPLER, "an empty scene", "The scene is empty: (0, 64, 64, 3).", lambda k: k.sample(scene=k.scene[:0])),
    Case(SAMPLER, "NaN in the scene", "The scene holds values that are not finite",
         lambda k: k.sample(scene=nan(k.scene))),
    Case(SAMPLER, "a scene of two channels", "A scene must be pictures [B,H,W,C] with 1, 3 or 4 channels",
         lambda k: k.sample(scene=k.scene[..., :2])),
    Case(SAMPLER, "a mask of another size",
         "The mask is 32x32 px, the scene 64x64 px. Resize the mask to the scene first.",
         lambda k: k.sample(mask=mask(1, 32, 32, ones=9))),
    Case(SAMPLER, "NaN in the mask", "The mask holds values that are not finite",
         lambda k: k.sample(mask=nan(mask(1, 64, 64)))),
    Case(SAMPLER, "three scenes and two objects", "The batches do not pair up: 3 scenes, 2 positive, 2 negative.",
         lambda k: k.sample(scene=k.scene.repeat(3, 1, 1, 1), **k.two_objects())),
    Case(SAMPLER, "three scenes and two masks", "The batches do not pair up: 3 scenes, 2 masks.",
         lambda k: k.sample(scene=k.scene.repeat(3, 1, 1, 1), mask=mask(2, 64, 64, ones=9))),
    Case(SAMPLER, "a mask that is an image",
         "A mask must be [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1]; got (1, 64, 64, 3).",
         lambda k: k.sample(mask=k.scene)),
    Case(SAMPLER, "a speed that there is not", "Unknown speed 'slow'; use exact, balanced, fast.",
         lambda k: k.sample(speed="slow")),
    Case(SAMPLER, "a run that ends in NaN, as in half precision", "What was sampled holds values that are not finite",
         lambda k: k.sample(scheduler="kl_optimal")),
    Case(GUIDER, "any of these", "This sampler needs an InstructPix2Pix model",
         lambda k: k.sample("ImageConditionedPix2PixGuider", model=k.unet(4))),
    Case(DECODE, "the latent of another scene",
         "The decoded picture is 64x64 px, but a scene of 72x64 px decodes to 72x64 px.",
         lambda k: k.comfy("SceneDecode", latent=k.sample(), vae=k.vae, scene=torch.zeros(1, 64, 72, 3))),
    Case(DECODE, "a latent of NaN", "The latent holds values that are not finite (NaN or infinity), so there is no",
         lambda k: k.decode(nan(k.scene_latent()["samples"]))),
    Case(DECODE, "a VAE that gives NaN, as in half precision", "What the VAE decoded holds values that are not finite",
         lambda k: k.decode(k.scene_latent()["samples"], vae=k.broken_vae())),
    Case(MODELS, "an incomplete checkout",
         "The playroom models in FOLDER lack vae/config.json; install the pack again.",
         lambda k: k.models(lambda folder: (folder / "vae/config.json").unlink())),
    Case(MODELS, "a config that is not JSON", "FOLDER/unet/config.json is not valid JSON",
         lambda k: k.models(lambda folder: (folder / "unet/config.json").write_text("{"))),
    Case(MODELS, "a file that is cut off", f"FOLDER/{UNET} is not a readable safetensors file",
         lambda k: k.models(lambda folder: truncate(folder / UNET))),
    Case(MODELS, "a UNet with missing tensors", "The weights in FOLDER/unet do not fit their own config: 1 missing",
         lambda k: k.models_with(UNET, lambda state: state.pop("conv_in.bias"))),
    Case(MODELS, "a VAE with missing tensors", "The weights in FOLDER/vae do not fit their own config: 1 missing",
         lambda k: k.models_with(VAE, lambda state: state.pop("decoder.conv_out.bias"))),
    Case(MODELS, "an encoder with tensors of another shape",
         "The weights in FOLDER/image_encoder do not fit their own config: 1 of another shape",
         lambda k: k.models_with(ENCODER, lambda state: state.update({PROJECTION: torch.zeros(3, 128)}))),
    Case(MODELS, "an encoder's config that asks for a billion layers",
         "FOLDER/image_encoder/config.json does not describe a network that can be built: it asks for more than",
         lambda k: k.models(lambda folder: configure(folder / "image_encoder/config.json", num_hidden_layers=10**9))),
    Case(MODELS, "a VAE's config that asks for a billion layers",
         "FOLDER/vae/config.json does not describe a network that can be built: it asks for more than",
         lambda k: k.models(lambda folder: configure(folder / "vae/config.json", layers_per_block=10**9))),
    Case(MODELS, "NaN weights", "The weights in FOLDER/unet hold values that are not finite: ",
         lambda k: k.models_with(UNET, lambda state: state.update({"conv_in.bias": nan(state["conv_in.bias"])}))),
    Case(PRESET, "photographs without their files",
         "instruct-pix2pix-00-22000-pruned-fp16.safetensors (checkpoint) was not found. Folders searched: ",
         lambda k: k.comfy("InsertionModels", preset="photographs")),
    Case(PRESET, "a preset of another version", "There is no preset 'cartoons'; use toys, photographs.",
         lambda k: k.comfy("InsertionModels", preset="cartoons")),
    Case(UNET_LOADER, "a name that is gone", "There is no UNet 'gone.safetensors'. Folders searched: ",
         lambda k: k.comfy("Pix2PixUNetLoader", name="gone.safetensors")),
    Case(UNET_LOADER, "a text-to-image model", "FILE is a text-to-image model: its UNet takes 4 channels",
         lambda k: k.load_unet_with(channels(4))),
    Case(UNET_LOADER, "an inpainting model", "FILE is an inpainting model: its UNet takes 9 channels",
         lambda k: k.load_unet_with(channels(9))),
    Case(UNET_LOADER, "a model of SDXL's family", "FILE is a UNet of SDXL's family; this method's are of Stable",
         lambda k: k.load_unet_with(lambda s: s.update({FIRST.replace("input_blocks", "label_emb"): torch.zeros(2)}))),
    Case(UNET_LOADER, "a UNet of another size, without its config",
         "FILE is not of Stable Diffusion 1.5's size: 64 channels and a context of width 128",
         lambda k: k.load_unet_with(lambda state: None)),
    Case(UNET_LOADER, "a LoRA", "FILE is a LoRA or another patch, no whole UNet. Load a UNet first, then this with",
         lambda k: k.load_unet({"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.zeros(2, 2)})),
    Case(UNET_LOADER, "a VAE", "FILE is a VAE, no UNet. Load it with Load VAE.",
         lambda k: k.load_unet((k.shipped / VAE).read_bytes())),
    Case(UNET_LOADER, "a vision encoder", "FILE is a text or vision encoder, no UNet.",
         lambda k: k.load_unet((k.shipped / ENCODER).read_bytes())),
    Case(UNET_LOADER, "a transformer model, Flux for instance", "FILE is a transformer model, no UNet",
         lambda k: k.load_unet({"double_blocks.0.img_attn.qkv.weight": torch.zeros(2)})),
    Case(UNET_LOADER, "weights of any other kind", "FILE holds no UNet: none of its ",
         lambda k: k.load_unet((k.shipped / "embedding_optimizer.safetensors").read_bytes())),
    Case(UNET_LOADER, "an empty file", "FILE is not a readable safetensors file (0 bytes)", lambda k: k.load_unet(b"")),
    Case(UNET_LOADER, "a web page under that name", "FILE is not a readable safetensors file",
         lambda k: k.load_unet(HTML)),
    Case(UNET_LOADER, "a file that is cut off", "FILE is not a readable safetensors file",
         lambda k: k.load_unet((k.shipped / UNET).read_bytes()[:-1000])),
    Case(UNET_LOADER, "a pickle that holds a program (it is not run)",
         "FILE is a pickle that cannot be read as plain tensors",
         lambda k: k.load_unet(save_pickle({"weight": Program(k.canary)}))),
    Case(UNET_LOADER, "quantised weights", "FILE holds weights that are not 16 or 32 bit floating point numbers",
         lambda k: k.load_unet_with(lambda state: state.update({FIRST: state[FIRST].to(torch.float8_e4m3fn)}))),
    Case(UNET_LOADER, "averaged weights of a file in diffusers layout",
         "FILE is in diffusers layout and holds one set of weights",
         lambda k: k.load_unet((k.shipped / UNET).read_bytes(), weights=AVERAGED)),
    Case(UNET_LOADER, "averaged weights of a pruned checkpoint", "FILE carries no averaged copy of its weights",
         lambda k: k.load_unet_with(lambda state: None, weights=AVERAGED)),
    Case(UNET_LOADER, "averaged weights that are not complete", "FILE lacks 323 of its averaged weights",
         lambda k: k.load_unet_with(
             lambda state: state.update({"model_ema.diffusion_modelinput_blocks00weight": torch.zeros(64, 8, 3, 3)}),
             weights=AVERAGED)),
    Case(UNET_LOADER, "a folder without weights", "FOLDER/unet holds no weights: none of diffusion_pytorch_model.",
         lambda k: k.load_unet_folder(lambda folder: (folder / UNET).unlink())),
    Case(UNET_LOADER, "a folder that lacks a shard", "FOLDER/unet lacks 1 of 2 shards: shard-1.safetensors.",
         lambda k: k.load_unet_folder(lambda folder: reshard(folder, Path.unlink))),
    Case(UNET_LOADER, "a shard that is cut off", "FOLDER/unet/shard-1.safetensors is not a readable safetensors file",
         lambda k: k.load_unet_folder(lambda folder: reshard(folder, truncate))),
    Case(UNET_LOADER, "the shard of another model", "FOLDER/unet/shard-1.safetensors lacks 162 of the tensors that",
         lambda k: k.load_unet_folder(lambda folder: reshard(folder, lambda s: save_file({"a": torch.ones(1)}, s)))),
    Case(UNET_LOADER, "an index that names files elsewhere",
         "FOLDER/unet/diffusion_pytorch_model.safetensors.index.json is no index of shards",
         lambda k: k.load_unet_folder(
             lambda folder: reshard(folder, lambda shard: None, weight_map={"conv_in.weight": "../x.safetensors"}))),
    Case(UNET_LOADER, "a config that is not JSON", "FOLDER/unet/config.json is not valid JSON",
         lambda k: k.load_unet_folder(lambda folder: (folder / CONFIG).write_text("{"))),
    Case(UNET_LOADER, "the config of something else",
         "FOLDER/unet/config.json is not the config of a UNet that the host can build",
         lambda k: k.load_unet_folder(lambda folder: (folder / CONFIG).write_text("{}"))),
    Case(UNET_LOADER, "a config that asks for a billion layers",
         "FOLDER/unet/config.json is not the config of a UNet that the host can build: 'layers_per_block' must be a",
         lambda k: k.load_unet_folder(lambda folder: configure(folder / CONFIG, layers_per_block=1_000_000_000))),
    Case(UNET_LOADER, "a config that asks for more than there is",
         "The config of FOLDER/unet does not describe a network that can be built: it asks for more than",
         lambda k: k.load_unet_folder(lambda folder: configure(folder / CONFIG, layers_per_block=99))),
    Case(UNET_LOADER, "a config without heads",
         "FOLDER/unet/config.json is not the config of a UNet that the host can build: 'attention_head_dim' must be",
         lambda k: k.load_unet_folder(lambda folder: configure(folder / CONFIG, attention_head_dim=-1))),
    Case(UNET_LOADER, "a config nested without end", "FOLDER/unet/config.json is not valid JSON",
         lambda k: k.load_unet_folder(lambda folder: (folder / CONFIG).write_text("[" * 100_000))),
    Case(UNET_LOADER, "names with something unknown before them",
         "FILE holds a UNet whose names begin with 'generator.', which is not known here.",
         lambda k: k.load_unet({f"generator.{n}": t for n, t in read_weights(k.shipped / UNET)[0].items()})),
    Case(UNET_LOADER, "a Lightning checkpoint of another size: its state_dict is read",
         "FILE is not of Stable Diffusion 1.5's size: 64 channels and a context of width 128",
         lambda k: k.load_unet(save_pickle({"state_dict": read_weights(k.shipped / UNET)[0], "global_step": 22_000}))),
    Case(UNET_LOADER, "the config of another UNet", "The weights in FOLDER/unet do not fit their own config: ",
         lambda k: k.load_unet_folder(lambda folder: configure(folder / CONFIG, cross_attention_dim=64))),
    Case(UNET_LOADER, "a scheduler for another prediction",
         "FOLDER/scheduler/scheduler_config.json asks for prediction_type 'sample'",
         lambda k: k.load_unet_folder(
             lambda folder: configure(folder / "scheduler/scheduler_config.json", prediction_type="sample"))),
    Case(UNET_LOADER, "missing tensors", "The weights in FOLDER/unet do not fit their own config: 1 missing "
         "(such as conv_in.bias)",
         lambda k: k.load_unet_folder(lambda folder: edit(folder / UNET, lambda state: state.pop("conv_in.bias")))),
    Case(UNET_LOADER, "NaN weights", "The weights in FOLDER/unet hold values that are not finite: conv_in.bias (64 ",
         lambda k: k.load_unet_folder(lambda folder: edit(
             folder / UNET, lambda state: state.update({"conv_in.bias": nan(state["conv_in.bias"])})))),
    Case(PAINT_LOADER, "a name that is gone", "There is no model 'gone.ckpt'. Folders searched: ",
         lambda k: k.comfy("PaintByExampleLoader", name="gone.ckpt")),
    Case(PAINT_LOADER, "a pickle, where torch is too old to read one safely",
         "FILE is a pickle, and torch 2.5.0 cannot keep one from running a program; torch 2.10 can.",
         lambda k: (k.monkeypatch.setattr(torch, "__version__", "2.5.0"),
                    k.load_paint(save_pickle({"state_dict": {"weight": torch.ones(1)}})))),
    Case(PAINT_LOADER, "a file that is cut off, or a web page", "FILE is not a readable safetensors file",
         lambda k: k.load_paint(HTML)),
    Case(PAINT_LOADER, "a pickle that holds a program (it is not run)",
         "FILE is a pickle that cannot be read as plain tensors",
         lambda k: k.load_paint(save_pickle({"state_dict": Program(k.canary)}))),
    Case(PAINT_LOADER, "no checkpoint", "FILE is no LDM checkpoint: it has no UNet",
         lambda k: k.load_paint((k.shipped / VAE).read_bytes())),
    Case(PAINT_LOADER, "a text-to-image model", "FILE is a text-to-image model: its UNet takes 4 channels, Paint by",
         lambda k: k.load_paint({FIRST: torch.zeros(320, 4, 3, 3)})),
    Case(PAINT_LOADER, "an InstructPix2Pix model", "FILE is an InstructPix2Pix model: its UNet takes 8 channels",
         lambda k: k.load_paint({FIRST: torch.zeros(320, 8, 3, 3)})),
    Case(PAINT_LOADER, "SDXL", "FILE is of SDXL's family",
         lambda k: k.load_paint({FIRST: torch.zeros(320, 9, 3, 3), FIRST.replace("input_blocks.0.0", "label_emb.0.0"):
                                 torch.zeros(2, 2)})),
    Case(PAINT_LOADER, "another inpainting model", "FILE is another inpainting model: its UNet takes 9 channels",
         lambda k: k.load_paint({FIRST: torch.zeros(320, 9, 3, 3)})),
    Case(EXEMPLAR, "NaN in the picture", "The object's picture holds values that are not finite",
         lambda k: k.exemplar(nan(k.picture))),
    Case(EXEMPLAR, "a picture of one pixel", "The object's picture is too small: 1 x 1x1 px",
         lambda k: k.exemplar(mask(1, 1, 1, 3))),
    Case(EXEMPLAR, "an empty mask among three", "The mask of the object's picture 1 covers 0 pixels",
         lambda k: k.exemplar(k.picture.repeat(3, 1, 1, 1), mask=frames(empty=1)[:, :48, :48])),
    Case(EXEMPLAR, "an exemplar encoder of another model", "This exemplar encoder reads pooled vectors of width 64,",
         lambda k: k.exemplar(width=64)),
    Case(PAINT, "an unpainted mask, which counts as none", "The mask is empty: nothing is painted in it, and here one",
         lambda k: k.paint(mask=mask(1, 64, 64))),
    Case(PAINT, "an empty mask among three", "Mask 1 of 0 to 2 is empty: nothing would be painted there.",
         lambda k: k.paint(image=k.three_scenes(), mask=frames(empty=1))),
    Case(PAINT, "a mask that is nowhere above one half", "The mask is too faint: its largest value is 0.4, and only",
         lambda k: k.paint(mask=mask(1, 64, 64, ones=40) * 0.4)),
    Case(PAINT, "a mask of ones", "The mask covers the whole scene", lambda k: k.paint(mask=mask(1, 64, 64, ones=64))),
    Case(PAINT, "a mask of one pixel", "The mask is too thin: nothing is left of it in latent cells of 8 px.",
         lambda k: k.paint(mask=mask(1, 64, 64, ones=1))),
    Case(PAINT, "a mask of another size", "The mask is 32x32 px, the scene 64x64 px.",
         lambda k: k.paint(mask=mask(1, 32, 32, ones=9))),
    Case(PAINT, "NaN in the mask", "The mask holds values that are not finite",
         lambda k: k.paint(mask=nan(mask(1, 64, 64)))),
    Case(PAINT, "NaN in the scene", "The scene holds values that are not finite",
         lambda k: k.paint(image=nan(k.scene))),
    Case(PAINT, "batches that do not pair up", "The batches do not pair up: 2 scenes, 3 masks.",
         lambda k: k.paint(image=k.scene.repeat(2, 1, 1, 1), mask=mask(3, 64, 64, ones=40))),
    Case(PAINT, "the tokens of an embedding optimizer", "'positive' comes from Embedding Optimizer, whose tokens mean",
         lambda k: k.paint(**dict(zip(("positive", "negative"), k.condition(), strict=True)))),
    Case(PAINT, "positive and negative swapped", "positive and negative are swapped: 'positive' holds no object,",
         lambda k: k.paint(**dict(zip(("negative", "positive"), k.exemplar(), strict=True)))),
    Case(PAINT, "the VAE of another model", "The VAE gives latents of shape (1, 4, 32, 32); Paint by Example works on",
         lambda k: k.paint(vae=k.finer_vae())),
    Case(LEARN, "another model than Paint by Example", "An exemplar encoder goes with Paint by Example, and another",
         lambda k: k.learn(model=k.model)),
    Case(LEARN, "another model than an optimizer's", "An embedding optimizer goes with an InstructPix2Pix model, and",
         lambda k: k.learn(exemplar_encoder=None, embedding_optimizer=k.optimizer)),
    Case(LEARN, "nothing that tells the model of the object", "Connect either an exemplar encoder",
         lambda k: k.learn(exemplar_encoder=None)),
    Case(LEARN, "two things that tell it", "Connect either an exemplar encoder",
         lambda k: k.learn(embedding_optimizer=k.optimizer)),
    Case(LEARN, "a model with a LoRA on it", "The model has LoRAs or other patches on it; an object is learned on the",
         lambda k: k.learn(model=patched(k.painters[0]))),
    Case(LEARN, "an empty batch", "There is no picture of the object. One is enough to begin with",
         lambda k: k.learn(images=k.picture[:0])),
    Case(LEARN, "NaN in a picture", "picture 0: The object's picture holds values that are not finite",
         lambda k: k.learn(images=nan(k.picture))),
    Case(LEARN, "a box outside of its picture", "The box",
         lambda k: k.learn(bounding_box=dict(x=90, y=0, width=9, height=9))),
    Case(LEARN, "two masks for one picture", "2 masks do not pair up with 1 pictures of the object",
         lambda k: k.learn(mask=mask(2, 48, 48, ones=20))),
    Case(LEARN, "a mask of another size", "picture 0: The object's mask is 32x32 px, its picture 48x48 px.",
         lambda k: k.learn(mask=mask(1, 32, 32, ones=20))),
    Case(LEARN, "more pictures than an object needs", "An object is learned from 1 to 16 pictures, not 17",
         lambda k: k.learn(images=k.picture.repeat(17, 1, 1, 1))),
    Case(LEARN, "a rank above what there is", "A rank of 300 is not possible: the smallest matrix",
         lambda k: k.learn(rank=300)),
    Case(LEARN, "a name with a folder in it", "'../bad' is no plain name for a file", lambda k: k.learn(name="../bad")),
    Case(APPLY, "no file, and nothing connected", "No object is chosen: pick a file, or connect Learn Object.",
         lambda k: k.apply()),
    Case(APPLY, "a LoRA", "FILE is no learned object. Needed is a file that",
         lambda k: k.apply({"lora_unet_conv_in.diff": torch.zeros(3, 3)})),
    Case(APPLY, "a web page", "FILE is not a readable safetensors file", lambda k: k.apply(HTML)),
    Case(APPLY, "an object of another base model", "(connected): it was learned on another base model",
         lambda k: k.learned(base="[1.0]")),
    Case(APPLY, "an object of contexts of another width", "(connected): its tokens have the width 768",
         lambda k: k.learned(tokens=torch.zeros(3, 768))),
    Case(APPLY, "an object with layers that the model lacks", "(connected): 1 of its 1 layers are none of this model's",
         lambda k: k.learned(patch={"lora_unet_gone_attn2_to_k.diff": torch.zeros(3, 3)})),
    Case(APPLY, "the tokens of an embedding optimizer", "'positive' comes from Embedding Optimizer, whose tokens mean",
         lambda k: k.apply(learned_object=k.toy(), positive=k.condition()[0])),
    Case(APPLY, "an exemplar beside an object that has a whole context",
         "(connected): it brings the whole context that it was learned with, and takes no exemplar beside it",
         lambda k: k.apply(learned_object=k.toy(shown=False), positive=k.exemplar()[0])),
    Case(TEACH, "a LoRA", "FILE is no student of this pack: it carries no settings of a student",
         lambda k: k.teach({"lora_unet_conv_in.diff": torch.zeros(3, 3)})),
    Case(TEACH, "a web page", "FILE is not a readable safetensors file", lambda k: k.teach(HTML)),
    Case(TEACH, "a name that is nowhere", "There is no student 'gone.safetensors'. Folders searched",
         lambda k: k.teach(name="gone.safetensors")),
    Case(TEACH, "a model that is a student already", "The model is guidance.safetensors already",
         lambda k: k.teach(model=k.teach()[0])),
    Case(SAMPLER, "a student at steps that it has not learned",
         "guidance.safetensors has learned the noise levels of 8 steps (euler_ancestral, simple)",
         lambda k: k.sample(model=k.teach()[0], guidance=Guidance(2.5, 1.2), steps=20)),
    Case(SAMPLER, "a student at scales that it has not learned",
         "guidance.safetensors has learned object scales from 1 to 4; asked is 7.5",
         lambda k: k.sample(model=k.teach()[0], speed="fast")),
    Case(CROP, "neither a mask nor a box", "Nothing says where the region is. Paint or connect a mask, connect a",
         lambda k: k.cut()),
    Case(CROP, "an unpainted mask, which counts as none, and no box", "Nothing says where the region is. Paint or",
         lambda k: k.cut(mask=mask(1, 64, 64))),
    Case(CROP, "a mask so faint that 8 bits would not keep it", "The mask is too faint: no pixel of it would survive",
         lambda k: k.cut(mask=mask(1, 64, 64, ones=9) * 1e-4)),
    Case(CROP, "a mask that is nowhere brighter than the noise of a file",
         "The mask is too faint: no pixel of it would survive the noise of a file",
         lambda k: k.cut(mask=mask(1, 64, 64, ones=64) / 255)),
    Case(CROP, "each of some thousand specks",
         "The mask has 1,024 regions, and each would be a picture to sample; at most 64 are",
         lambda k: k.cut(torch.zeros(1, 512, 512, 3), mask=specks(), regions="each")),
    Case(CROP, "a mask of another size", "The mask is 32x32 px, the scene 64x64 px. Resize the mask",
         lambda k: k.cut(mask=mask(1, 32, 32, ones=9))),
    Case(CROP, "NaN in the mask", "The mask holds values that are not finite",
         lambda k: k.cut(mask=nan(mask(1, 64, 64)))),
    Case(CROP, "three scenes and two masks", "2 masks do not pair up with 3 scenes. Give one, or equally many.",
         lambda k: k.cut(k.scene.repeat(3, 1, 1, 1), mask=mask(2, 64, 64, ones=9))),
    Case(CROP, "a box outside the scene",
         "The box from (64, 0) to (80, 16) covers no pixel of the 64x64 px picture.",
         lambda k: k.cut(x=64, width=16, height=16)),
    Case(CROP, "a bounding box beside everything that is masked", "The mask is empty inside the box. Move the box",
         lambda k: k.cut(mask=mask(1, 64, 64, ones=9), bounding_box=box(30, 0, 16, 16))),
    Case(CROP, "a bounding box outside the scene", "The box from (64, 0) to (80, 16) covers no pixel of the 64x64 px",
         lambda k: k.cut(bounding_box=box(64, 0, 16, 16))),
    Case(CROP, "a box canvas on which nothing is drawn, or a detector that found nothing",
         "The connected bounding boxes are none: nothing was drawn, or nothing detected.",
         lambda k: k.cut(mask=mask(1, 64, 64, ones=9), bounding_box=[[]], width=16, height=16)),
    Case(CROP, "the bounding boxes of three pictures for two scenes",
         "The bounding boxes are those of 3 pictures, but 2 are connected.",
         lambda k: k.cut(k.two_scenes(), bounding_box=[[box(0, 0, 9, 9)]] * 3)),
    Case(CROP, "a region that is not there", "There is no region 1: the mask has 1, counted from 0",
         lambda k: k.cut(mask=mask(1, 64, 64, ones=9), regions="one", index=1)),
    Case(CROP, "an empty scene", "The scene is empty: (0, 64, 64, 3).",
         lambda k: k.cut(k.scene[:0], mask=mask(1, 64, 64, ones=9))),
    Case(CROP, "NaN in the region", "The scene holds values that are not finite (NaN or infinity) in the region",
         lambda k: k.cut(nan(k.scene), mask=mask(1, 64, 64, ones=9))),
    Case(PASTE, "a picture of another shape than the crop", "What is pasted is 48x64 px, but the crop was 64x64 px.",
         lambda k: k.paste(k.scene[:, :, :48])),
    Case(PASTE, "three pictures where a scene of two has a region",
         "1 regions were cut out, but 3 pictures come back.",
         lambda k: k.paste(k.three_scenes(), k.cut(k.two_scenes(), mask=frames(empty=1)[:2])[2])),
    Case(PASTE, "NaN in the edited crop", "What is pasted holds values that are not finite",
         lambda k: k.paste(nan(k.scene))),
    Case(PASTE, "three pictures for two regions", "2 regions were cut out, but 3 pictures come back.",
         lambda k: k.paste(k.scene.repeat(3, 1, 1, 1), k.two_parts())),
    Case(PASTE, "another scene of another size", "The scene to paste into is (1, 64, 32, 3), the one that was cut",
         lambda k: k.paste(k.scene, scene=k.scene[:, :, :32])),
    Case(BOX, "a box outside the picture", "The box from (64, 0) to (80, 16) covers no pixel of the 64x64 px picture.",
         lambda k: k.comfy("BoxToMask", image=k.scene, x=64, width=16, height=16)),
    Case(BOX, "a box without width", "The box from (0, 0) to (0, 16) covers no pixel of the 64x64 px picture.",
         lambda k: k.comfy("BoxToMask", image=k.scene, width=0, height=16)),
    Case(BOX, "a bounding box of no height", "The bounding box at (0, 0) of 16x0 px is none: its numbers must be",
         lambda k: k.comfy("BoxToMask", image=k.scene, bounding_box=box(0, 0, 16, 0))),
    Case(BOX, "NaN in a bounding box", "The bounding box at (nan, 0) of 16x16 px is none",
         lambda k: k.comfy("BoxToMask", image=k.scene, bounding_box=[[box(float("nan"), 0, 16, 16)]])),
    Case(BOX, "bounding boxes of another kind", "A bounding box must be a table of x, y, width and height",
         lambda k: k.comfy("BoxToMask", image=k.scene, bounding_box=[0, 0, 16, 16])),
    Case(BOX, "a bounding box outside the picture", "The box from (0, 70) to (16, 86) covers no pixel of the 64x64 px",
         lambda k: k.comfy("BoxToMask", image=k.scene, bounding_box=[box(0, 0, 16, 16), box(0, 70, 16, 16)])),
    Case(SHAPE, "a bounding box outside the picture", "The box from (0, 70) to (16, 86) covers no pixel of the 64x64",
         lambda k: k.comfy("ArbitraryMask", image=k.scene, seed=0, bounding_box=box(0, 70, 16, 16))),
    Case(SHAPE, "a box outside the picture",
         "The box from (64, 0) to (80, 16) covers no pixel of the 64x64 px picture.",
         lambda k: k.comfy("ArbitraryMask", image=k.scene, seed=0, x=64, width=16, height=16)),
    Case(SHAPE, "a bounding box beside everything that is masked", "The mask is empty inside the box. Move the box",
         lambda k: k.comfy("ArbitraryMask", image=k.scene, seed=0, mask=mask(1, 64, 64, ones=9),
                           bounding_box=box(30, 0, 16, 16))),
    Case(SHAPE, "a mask too faint for a box", "The mask is too faint for a box: no pixel of it is 0.5 or more.",
         lambda k: k.comfy("ArbitraryMask", image=k.scene, seed=0, mask=mask(1, 64, 64, ones=9) * 0.4)),
    Case(SWEEP, "no object scale", "object_scales is empty. Write numbers such as",
         lambda k: k.sweep(object_scales=" ")),
    Case(SWEEP, "a scale that is no number", "scene_scales: 'high' is no number. Write numbers such as",
         lambda k: k.sweep(scene_scales="1.2, high")),
    Case(SWEEP, "a scale below 0", "object_scale must be a number from 0 to 1000; got -1",
         lambda k: k.sweep(object_scales="-1, 2")),
    Case(SWEEP, "a range of too many scales", "object_scales asks for 50 scales; give 1 to 12.",
         lambda k: k.sweep(object_scales="1..10 x 50")),
    Case(SWEEP, "more runs than anyone waits for", "144 cells with 2 seeds are 288 runs; at most 144.",
         lambda k: k.sweep(object_scales="1..12 x 12", scene_scales="1..12 x 12", seeds=2)),
    Case(SWEEP, "no seed, through the API", "At least 1 seed is needed; got 0.",
         lambda k: k.sweep(seeds=0)),
    Case(SWEEP, "a cell that is not there", "pick = '2, 1' names no cell: there are 1 rows and 1 columns.",
         lambda k: k.sweep(pick="2, 1")),
    Case(SWEEP, "two scenes", "A sweep is of one scene and one object; there are 2.",
         lambda k: k.sweep(scene=k.two_scenes())),
    Case(SWEEP, "NaN in the scene", "The scene holds values that are not finite",
         lambda k: k.sweep(scene=nan(k.scene))),
    Case(SWEEP, "NaN in the object's picture", "The object's picture holds values that are not finite",
         lambda k: k.sweep(object_image=nan(k.picture))),
    Case(SWEEP, "a mask of another size than the object's picture", "The object's mask is 32x32 px, its picture 48x48",
         lambda k: k.sweep(object_mask=mask(1, 32, 32, ones=9))),
    Case(CHOOSE, "two scenes", "There are 2 scenes: results are compared in one. Give one scene at a time.",
         lambda k: k.choose(scene=k.two_scenes())),
    Case(CHOOSE, "no results", "The edited picture is empty: (0, 64, 64, 3).",
         lambda k: k.choose(k.scene[:0])),
    Case(CHOOSE, "NaN in a result", "The edited picture holds values that are not finite",
         lambda k: k.choose(nan(k.scene))),
    Case(CHOOSE, "an object of one pixel", "The object's picture is too small: 1 x 1x1 px",
         lambda k: k.choose(object_image=k.picture[:, :1, :1])),
    Case(CHOOSE, "three masks for two object pictures", "3 masks do not pair up with 2 pictures of the object.",
         lambda k: k.choose(object_image=k.picture.repeat(2, 1, 1, 1), object_mask=mask(3, 48, 48, ones=9))),
    Case(RESTORE, "NaN in the scene", "The scene holds values that are not finite",
         lambda k: k.restore(k.scene, scene=nan(k.scene))),
    Case(RESTORE, "NaN in the edited picture", "The edited picture holds values that are not finite",
         lambda k: k.restore(nan(k.scene))),
    Case(RESTORE, "an empty scene", "The scene is empty: (0, 64, 64, 3).",
         lambda k: k.restore(k.scene, scene=k.scene[:0])),
    Case(RESTORE, "no edited picture", "The edited picture is empty: (0, 64, 64, 3).",
         lambda k: k.restore(k.scene[:0])),
    Case(RESTORE, "an edited picture of two channels",
         "The edited picture must be pictures [B,H,W,C] with 1, 3 or 4 channels",
         lambda k: k.restore(k.scene[..., :2])),
    Case(RESTORE, "two scenes and three edits", "The batches do not pair up: 2 scenes, 3 edits.",
         lambda k: k.restore(k.three_scenes(), scene=k.two_scenes())),
    Case(RESTORE, "three masks for two edits", "The batches do not pair up: 2 edits, 3 masks.",
         lambda k: k.restore(k.two_scenes(), mask=mask(3, 64, 64, ones=9))),
    Case(RESTORE, "a mask of another size, such as the edited picture's", "The mask is 32x32 px, the scene 64x64 px.",
         lambda k: k.restore(k.scene[:, :32, :32], mask=mask(1, 32, 32, ones=9))),
    Case(RESTORE, "NaN in the mask", "The mask holds values that are not finite",
         lambda k: k.restore(mask=nan(mask(1, 64, 64)))),
    Case(RESTORE, "a mask too faint to be meant", "The mask is too faint: no pixel of it would survive",
         lambda k: k.restore(mask=mask(1, 64, 64, ones=9) / 100)),
    Case(RESTORE, "a relevance mask of no known shape", "A mask must be [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1]",
         lambda k: k.restore(relevance=torch.ones(1, 3, 64, 64))),
    Case(RESTORE, "NaN in the relevance", "The relevance holds values that are not finite",
         lambda k: k.restore(relevance=nan(mask(1, 64, 64)))),
    Case(RESTORE, "NaN in the object's picture", "The object's picture holds values that are not finite",
         lambda k: k.restore(object_image=nan(k.picture))),
    Case(RESTORE, "an empty batch of the object's pictures", "The object's picture is empty: (0, 48, 48, 3).",
         lambda k: k.restore(object_image=k.picture[:0])),
    Case(RESTORE, "a VAE that makes NaN", "The round trip holds values that are not finite",
         lambda k: k.restore(vae=k.broken_vae())),
    Case(RESTORE, "a sensitivity of 0, through the API", "The sensitivity must be above 0; got 0",
         lambda k: k.restore(sensitivity=0)),
    Case(RESTORE, "an unknown use of the mask, through the API", "Unknown use of the mask 'both'; use limit, force.",
         lambda k: k.restore(mask_use="both")),
    Case(RESTORE, "infinity in the edited picture", "The edited picture holds values that are not finite",
         lambda k: k.restore(k.scene / 0)),
    Case(RESTORE, "whole numbers from 0 to 255", "The edited picture must hold numbers from 0 to 1; got uint8.",
         lambda k: k.restore((k.scene * 255).byte())),
    Case(RESTORE, "a bounding box outside the scene",
         "The box from (64, 0) to (80, 16) covers no pixel of the 64x64 px picture.",
         lambda k: k.restore(bounding_box=box(64, 0, 16, 16))),
    Case(RESTORE, "a bounding box without width", "The bounding box at (0, 0) of 0x16 px is none",
         lambda k: k.restore(bounding_box=[box(0, 0, 0, 16)])),
    Case(RESTORE, "NaN in a bounding box", "The bounding box at (nan, 0) of 16x16 px is none",
         lambda k: k.restore(bounding_box=[[box(float("nan"), 0, 16, 16)]])),
    Case(RESTORE, "bounding boxes of another kind", "A bounding box must be a table of x, y, width and height",
         lambda k: k.restore(bounding_box=[0, 0, 16, 16])),
    Case(RESTORE, "a bounding box beside everything that is masked", "The mask is empty inside the box. Move the box",
         lambda k: k.restore(mask=mask(1, 64, 64, ones=9), bounding_box=box(30, 0, 16, 16))),
    Case(RESTORE, "a box canvas on which nothing is drawn, or a detector that found nothing",
         "The connected bounding boxes are none: nothing was drawn, or nothing detected.",
         lambda k: k.restore(bounding_box=[[]])),
    Case(RESTORE, "the bounding boxes of three pictures for two edits",
         "The bounding boxes are those of 3 pictures, but 2 are connected.",
         lambda k: k.restore(k.two_scenes(), bounding_box=[[box(0, 0, 9, 9)]] * 3)),
    Case(SPLIT, "an empty batch of masks", "There are no object masks: their batch is empty.",
         lambda k: k.layers(object_mask=mask(0, 64, 64))),
    Case(SPLIT, "a picture of another size than the scene", "The restored picture is 48x48 px, the scene 64x64 px.",
         lambda k: k.layers(image=k.picture)),
    Case(SPLIT, "a picture that is not the scene outside the effect",
         "The restored picture is not the scene outside the effect mask: 4096 px differ.",
         lambda k: k.layers(image=k.scene + 0.1)),
    Case(SPLIT, "NaN in the picture", "The restored picture holds values that are not finite",
         lambda k: k.layers(image=nan(k.scene))),
    Case(SPLIT, "NaN in the object's mask", "The object mask holds values that are not finite",
         lambda k: k.layers(object_mask=nan(mask(1, 64, 64)))),
    Case(SPLIT, "a mask of another size", "The effect mask must be [H,W] of the scene's 64x64 px; got (32, 32).",
         lambda k: k.layers(effect_mask=mask(1, 32, 32))),
    Case(SPLIT, "batches that do not pair up", "The batches do not pair up: 2 scenes, 3 restored pictures.",
         lambda k: k.layers(scene=k.two_scenes(), image=k.three_scenes())),
    Case(SAVE, "any of these", "The restored picture is 48x48 px, the scene 64x64 px.",
         lambda k: k.save_layers(image=k.picture)),
    Case(PLACE, "an object without a mask or alpha", "Nothing says where the object is in its picture. Give a mask",
         lambda k: k.place(object_mask=None)),
    Case(PLACE, "Load Image's mask of a cut-out, which is inverted",
         "The object's mask is 1 along its picture's whole border and 0 inside, as Load Image's mask of a cut-out is",
         lambda k: k.place(object_mask=1 - square(48))),
    Case(PLACE, "an unpainted mask of the object", "Nothing says where the object is in its picture. Give a mask",
         lambda k: k.place(object_mask=mask(1, 48, 48))),
    Case(PLACE, "a mask of one pixel", "The mask of the object's picture 0 covers 1 pixels",
         lambda k: k.place(object_mask=mask(1, 48, 48, ones=1))),
    Case(PLACE, "a mask of another size", "The object's mask is 32x32 px, its picture 48x48 px.",
         lambda k: k.place(object_mask=mask(1, 32, 32, ones=9))),
    Case(PLACE, "a mask on what is transparent", "The object is wholly transparent: nothing of it would be seen.",
         lambda k: k.place(object_image=torch.cat([k.picture, square(48)[..., None]], -1), object_mask=1 - square(48))),
    Case(PLACE, "NaN in the object", "The object's picture holds values that are not finite",
         lambda k: k.place(object_image=nan(k.picture))),
    Case(PLACE, "NaN in the scene", "The scene holds values that are not finite",
         lambda k: k.place(scene=nan(k.scene))),
    Case(PLACE, "an empty scene", "The scene is empty: (0, 64, 64, 3).", lambda k: k.place(scene=k.scene[:0])),
    Case(PLACE, "a box outside the scene", "The box from (64, 32) to (72, 40) covers no pixel of the 64x64 px picture.",
         lambda k: k.place(x=64, width=8)),
    Case(PLACE, "a box without width", "The box from (8, 8) to (8, 40) has no width or no height.",
         lambda k: k.place(width=0)),
    Case(PLACE, "a point outside the scene", "The point (64, 32) lies outside the 64x64 px scene. Give one from",
         lambda k: k.place(foot_x=64, foot_y=32)),
    Case(PLACE, "one number of a point", "foot_x and foot_y belong together; got 32 and -1.",
         lambda k: k.place(foot_x=32)),
    Case(PLACE, "a negative height of an object on a point", "The object's height must be 1 px or more; got -1.",
         lambda k: k.place(foot_x=32, foot_y=32, object_height=-1)),
    Case(PLACE, "two scenes and three objects", "The batches do not pair up: 2 scenes, 3 objects.",
         lambda k: k.place(scene=k.two_scenes(), object_image=k.picture.repeat(3, 1, 1, 1))),
    Case(FIT, "NaN in the scene", "The scene holds values that are not finite", lambda k: k.fit(nan(k.scene))),
    Case(FIT, "an empty scene", "The scene is empty: (0, 64, 64, 3).",
         lambda k: k.fit(k.scene[:0])),
    Case(FIT, "a scene far from every shape of a model", "The scene of 64x8 px is too far from all shapes of this",
         lambda k: k.fit(k.scene[:, :8], model="GPT Image")),
    Case(FIT, "a mask of another size", "The mask is 32x32 px, the scene 64x64 px.",
         lambda k: k.fit(mask=mask(1, 32, 32, ones=9))),
    Case(FIT, "a mask of which a crop leaves nothing", "Nothing of the mask lies in the part that is kept.",
         lambda k: k.fit(mask=mask(1, 64, 64, ones=2), method="crop", multiple=48)),
    Case(FIT, "two scenes and three masks", "The batches do not pair up: 2 scenes, 3 masks.",
         lambda k: k.fit(k.two_scenes(), mask=mask(3, 64, 64, ones=9))),
    Case(UNDO, "an edited picture of another shape", "The edited picture is 64x32 px, but what was fitted 64x64 px:",
         lambda k: k.undo(k.scene[:, :32])),
    Case(UNDO, "NaN in the edited picture", "The edited picture holds values that are not finite",
         lambda k: k.undo(nan(k.scene))),
    Case(UNDO, "no edited picture", "The edited picture is empty: (0, 64, 64, 3).",
         lambda k: k.undo(k.scene[:0])),
    Case(UNDO, "three edited pictures for two scenes", "The batches do not pair up: 2 scenes, 3 edited pictures.",
         lambda k: k.undo(k.three_scenes(), k.fit(k.two_scenes())[2])),
    Case(DEMO, "an output folder that cannot be made", "the results cannot be written: ", Kit.block_folder),
    Case(DEMO, "a full disk", "the results cannot be written:", Kit.fill_disk),
    Case(ADD_PROMPT, "a subject that is not in the prompt", "“hat” is not in the prompt “a room with a red ball on",
         lambda k: k.prompt(subject="hat")),
    Case(ADD_PROMPT, "a subject that is in the prompt twice", "“ball” is in the prompt 2 times (ball).",
         lambda k: k.prompt("a red ball and a blue ball", "ball")),
    Case(ADD_PROMPT, "a third of two", "“ball” is in the prompt 2 times; there is no occurrence 3.",
         lambda k: k.prompt("a red ball and a blue ball", "ball", occurrence=3)),
    Case(ADD_PICTURE, "both inputs swapped", "The conditioning has 32 tokens, the text alone 32: no picture was",
         lambda k: k.comfy("AddItPictureSubject", conditioning=k.prompt(), text=k.prompt())),
    Case(ADD_ATTENTION, "an editing model", "Add-It needs a text-to-picture model; this one takes 8 channels and ma",
         lambda k: k.add_it(model=k.model)),
    Case(ADD_ATTENTION, "the latent of a video", "The source latent has the shape (1, 4, 1, 8, 8); Add-It works on",
         lambda k: k.add_it(source_latent={"samples": torch.zeros(1, 4, 1, 8, 8)})),
    Case(ADD_ATTENTION, "NaN in the source latent", "The source latent holds values that are not finite",
         lambda k: k.add_it(source_latent={"samples": nan(torch.zeros(1, 4, 8, 8))})),
    Case(ADD_ATTENTION, "two prompts of the scene", "The source conditioning has 2 parts; connect one prompt",
         lambda k: k.add_it(source_conditioning=k.prompt() * 2)),
    Case(ADD_ATTENTION, "a blend before the start", "blend (0.1) must come after start (0.2).",
         lambda k: k.add_it(start=0.2, blend_at=0.1)),
    Case(ADD_ATTENTION, "a source of another size", "The source latent is 8x8 cells of 4 channels, the run's 16x16",
         lambda k: k.run_add_it(size=16)),
    Case(ADD_ATTENTION, "two source latents for one picture", "There are 2 source latents for 1 pictures",
         lambda k: k.run_add_it(source_latent={"samples": torch.zeros(2, 4, 8, 8)})),
    Case(ADD_ATTENTION, "conditioning with an area", "Add-It got a part of the picture: conditioning with an",
         lambda k: k.run_add_it(k.comfy("ConditioningSetArea", conditioning=k.prompt(), width=32, height=32, x=0, y=0,
                                        strength=1.0)[0])),
    Case(ADD_ATTENTION, "a latent noise mask, and blend", "A latent noise mask keeps the scene already, and Add-It's",
         lambda k: k.run_add_it(latent={"noise_mask": mask(1, 64, 64, ones=20)})),
    Case(ADD_ATTENTION, "EasyCache on the model", "EasyCache keeps what the model gave for each prompt",
         lambda k: k.run_add_it(model=k.comfy("EasyCache", model=k.told[0], reuse_threshold=0.2, start_percent=0.15,
                                              end_percent=0.95, verbose=False)[0])),
    Case(ADD_SUBJECT, "a run without a subject", "This run has no subject map: give the sampler a prompt",
         lambda k: k.comfy("AddItSubject", add_it=k.add_it()[1], image=k.scene)),
    Case(ADD_BLEND, "no levels", "sigmas are empty: connect the second sampler's levels.",
         lambda k: k.comfy("AddItBlend", add_it=k.add_it()[1], model=k.told[0], sigmas=torch.zeros(0),
                           latent={"samples": torch.zeros(1, 4, 8, 8)}, mask=mask(1, 64, 64, ones=9))),
    Case(ADD_BLEND, "a latent of another size", "The latent has the shape (1, 4, 9, 9), the source latent (1, 4, 8, 8)",
         lambda k: k.comfy("AddItBlend", add_it=k.add_it()[1], model=k.told[0], sigmas=torch.tensor([0.5, 0]),
                           latent={"samples": torch.zeros(1, 4, 9, 9)}, mask=mask(1, 64, 64, ones=9))),
    Case(ADD_SAMPLER, "a mask of another size", "The mask is 32x32 px", lambda k: k.add(mask=mask(1, 32, 32, ones=9))),
    Case(ADD_SAMPLER, "NaN in the scene", "The scene holds values that are not finite",
         lambda k: k.add(scene=nan(k.scene))),
    Case(ADD_SAMPLER, "a subject that is not in the prompt", "“hat” is not in the prompt “a red ball”.",
         lambda k: k.add(subject="hat")),
    Case(PICTURE_WORDS, "a prompt without the word", 'The prompt has the word "toy" 0 times, but there are 1 pictures',
         lambda k: k.comfy("PlayroomPictureWords", clip=k.told[1], clip_vision_output=k.encode(), prompt="a room",
                           word="toy")),
]  # fmt: skip


@dataclass(frozen=True)
class Fine:
    node: str
    given: str
    happens: str
    same: Callable[[Kit], tuple[torch.Tensor, torch.Tensor]]  # two results that must be equal


def patched(model):
    """A MODEL with something on it."""
    clone = model.clone()
    key = next(key for key in model.model.state_dict() if key.endswith("attn2.to_k.weight"))
    clone.add_patches({key: ("diff", (torch.zeros_like(model.model.state_dict()[key]),))})
    return clone


def seen(output):
    return output["last_hidden_state"]


def middle():
    """The mask [1,48,48] of an object in the middle of its picture."""
    return torch.nn.functional.pad(torch.ones(1, 24, 24), (12, 12, 12, 12))


def grey(picture):
    return picture[..., :1].expand_as(picture)


def opaque(picture, opacity=1.0):
    return torch.cat([picture, torch.full_like(picture[..., :1], opacity)], -1)


def frames(empty):
    """Masks of three frames [3,64,64]; one is empty."""
    masks = mask(3, 64, 64, ones=40)
    masks[empty] = 0
    return masks


def box(x, y, width, height):
    """One of the host's bounding boxes."""
    return dict(x=x, y=y, width=width, height=height)


def specks():
    """A mask [1,512,512] of 32 by 32 single pixels."""
    made = mask(1, 512, 512)
    made[:, 4::16, 4::16] = 1
    return made


def told(made, scene, verdict):
    """A restored picture where it should be the scene, of a report with this verdict; and the scene."""
    image, effect, *_, report = made
    assert verdict in report
    return torch.where(effect[..., None] > 0, scene, image), scene


def diagnosed(k, finding, **inputs):
    """A picture twice, where the doctor's report has this finding."""
    (report,) = k.comfy("VisualInsertionDoctor", **inputs)
    assert finding in report
    return k.scene, k.scene


def damaged_toys(k):
    """Toy models of which one file is a web page."""
    from visual_insertion_pack.nodes.host import playroom_models

    shutil.copytree(k.shipped, k.folder / "models")
    (k.folder / "models" / UNET).write_bytes(HTML)
    k.monkeypatch.setattr(playroom_models, "FOLDER", k.folder / "models")


def nearly_all(made, edited):
    """A restored picture and its edit where nothing of the scene is left, which is nearly everywhere and reported."""
    image, effect, *_, report = made
    everything = effect == 1
    assert "nearly everything changed" in report and everything.float().mean() > 0.95
    return image[everything], edited[everything]


def another(picture):
    """Noise of a picture's size."""
    return torch.rand(picture.shape, generator=torch.Generator().manual_seed(7))


def long(seed):
    """A picture of 1x16,000 px."""
    return torch.rand(1, 1, 16_000, 3, generator=torch.Generator().manual_seed(seed))


def square(size):
    """A mask of a square in the middle."""
    made = mask(1, size, size)
    made[:, size // 4 : -(size // 4), size // 4 : -(size // 4)] = 1
    return made


def noisy(made):
    made = made.clamp_min(1 / 255)
    made[:, -3, -3] = 0.05
    return made


def all_forms(run, size=64):
    """What comes of a mask in forms that other packs give it, and as often what comes of it as it is."""
    plain = mask(1, size, size, ones=40)
    forms = (plain[:, None], plain[..., None], plain.bool(), plain.half())
    return torch.stack([run(form).float() for form in forms]), torch.stack([run(plain).float()] * len(forms))


def half_transparent(k):
    alpha = mask(1, 48, 48, ones=24)
    picture = torch.cat([k.picture, alpha[..., None]], -1)
    return seen(k.encode(picture)), seen(k.encode(k.picture, mask=alpha, background="mean"))


ACCEPTED = [
    Fine(OBJECT, "a transparent picture", "what is transparent takes the encoder's mean colour", half_transparent),
    Fine(OBJECT, "an opaque picture with alpha", "the same as without",
         lambda k: (seen(k.encode(opaque(k.picture))), seen(k.encode()))),
    Fine(OBJECT, "a greyscale picture", "the same as three equal channels",
         lambda k: (seen(k.encode(k.picture[..., :1])), seen(k.encode(grey(k.picture))))),
    Fine(OBJECT, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask",
         lambda k: (seen(k.encode(mask=mask(1, 64, 64))), seen(k.encode()))),
    Fine(OBJECT, "the mask of a cut-out as Load Image gives it, with background = auto", "the same as its inverse",
         lambda k: tuple(seen(k.encode(mask=made, background="auto")) for made in (1 - middle(), middle()))),
    Fine(EXEMPLAR, "the mask of a cut-out as Load Image gives it, with background = auto",
         "the same as its inverse with background = mean",
         lambda k: tuple((torch.manual_seed(0), k.exemplar(mask=made, background=background))[1][0][0][0]
                         for made, background in ((1 - middle(), "auto"), (middle(), "mean")))),
    Fine(EXEMPLAR, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask",
         lambda k: tuple((torch.manual_seed(0), k.exemplar(mask=made))[1][0][0][0] for made in (mask(1, 9, 9), None))),
    Fine(SAMPLER, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask",
         lambda k: (k.result(mask=mask(1, 9, 9)), k.result())),
    Fine(GUIDER, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask",
         lambda k: (k.guider_latent(mask=mask(1, 9, 9)), k.guider_latent())),
    Fine(CROP, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask: the box counts",
         lambda k: (k.cut(mask=mask(1, 9, 9), width=16, height=16)[1], k.cut(width=16, height=16)[1])),
    Fine(SHAPE, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask: the box counts",
         lambda k: tuple(k.comfy("ArbitraryMask", image=k.scene, seed=0, width=9, height=9, mask=made)[0]
                         for made in (mask(1, 9, 9), None))),
    Fine(CROP, "a mask and a box of widgets", "the mask replaces the box",
         lambda k: (k.cut(mask=mask(1, 64, 64, ones=9), x=30, width=16, height=16)[1],
                    k.cut(mask=mask(1, 64, 64, ones=9))[1])),
    Fine(CROP, "a mask and a bounding box", "what is masked within the bounding box",
         lambda k: (k.cut(mask=mask(1, 64, 64, ones=40), bounding_box=box(20, 20, 30, 30))[1],
                    k.cut(x=20, y=20, width=20, height=20)[1])),
    Fine(CROP, "a detector's box between pixels, reaching out of the scene", "the pixels that it touches",
         lambda k: (k.cut(bounding_box=[[box(20.7, -3.5, 30.1, 30.0) | {"score": 0.9}]])[1],
                    k.cut(x=20, width=31, height=27)[1])),
    Fine(CROP, "the bounding boxes of a batch, none for one of its pictures",
         "that scene is not cut; Local Region Paste gives it back as it is",
         lambda k: (k.paste(k.scene, k.cut(k.two_scenes(), bounding_box=[[], [box(0, 0, 9, 9)]])[2])[0][0],
                    k.scene[0])),
    Fine(BOX, "the bounding boxes of a batch, none for one of its pictures", "that mask stays empty",
         lambda k: (k.comfy("BoxToMask", image=k.two_scenes(), bounding_box=[[], [box(0, 0, 9, 9)]])[0],
                    torch.cat([mask(1, 64, 64), mask(1, 64, 64, ones=9)]))),
    Fine(SAMPLER, "a scene with alpha", "alpha is ignored",
         lambda k: (k.result(scene=opaque(k.scene, 0.3)), k.result())),
    Fine(SAMPLER, "a greyscale scene", "the same as three equal channels",
         lambda k: (k.result(scene=k.scene[..., :1]), k.result(scene=grey(k.scene)))),
    Fine(SAMPLER, "a mask without batch", "the same as with one",
         lambda k: (k.result(mask=mask(64, 64, ones=40)), k.result(mask=mask(1, 64, 64, ones=40)))),
    Fine(SAMPLER, "a mask as other packs make it: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: k.result(mask=form))),
    Fine(CROP, "a mask as other packs make it: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: k.cut(mask=form)[1])),
    Fine(PAINT, "a mask as other packs make it: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: k.paint(mask=form)[0][0][1]["concat_mask"])),
    Fine(SHAPE, "a mask as other packs make it: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: k.comfy("ArbitraryMask", image=k.scene, seed=1, mask=form)[0])),
    Fine(OBJECT, "a mask as other packs make it: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: seen(k.encode(mask=form, background="mean")), size=48)),
    Fine(EXEMPLAR, "a mask as other packs make it: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: (torch.manual_seed(0), k.exemplar(mask=form))[1][0][0][0], size=48)),
    Fine(CROP, "a black of 1/255 around the mask, or a stray faint pixel", "the same as without",
         lambda k: (k.cut(mask=noisy(mask(1, 64, 64, ones=9)))[1], k.cut(mask=mask(1, 64, 64, ones=9))[1])),
    Fine(SAMPLER, "a black of 1/255 around the mask, or a stray faint pixel", "the same as without",
         lambda k: (k.result(mask=noisy(mask(1, 64, 64, ones=9))), k.result(mask=mask(1, 64, 64, ones=9)))),
    Fine(CROP, "a batch in which a mask is empty", "that scene is not cut; Local Region Paste gives it back as it is",
         lambda k: (k.paste(k.two_scenes(), k.cut(k.three_scenes(), mask=frames(empty=1))[2])[0][1], k.scene[0])),
    Fine(SAMPLER, "a batch in which a mask is empty", "that scene's latent stays as it is",
         lambda k: (k.result(scene=k.three_scenes(), mask=frames(empty=1))[1], k.scene_latent()["samples"][0])),
    Fine(SHAPE, "a batch in which a mask is empty", "that mask stays empty",
         lambda k: (k.comfy("ArbitraryMask", image=k.scene, seed=0, mask=frames(empty=1))[0][1], mask(64, 64))),
    Fine(CROP, "a mask that is white everywhere, or a region larger than the scene", "the window is the whole scene",
         lambda k: (k.cut(mask=mask(1, 64, 64, ones=64))[0], k.cut(width=64, height=64, expansion=8.0)[0])),
    Fine(CROP, "a mask of one pixel", "the window around it has at least the minimum's size",
         lambda k: (k.cut(mask=mask(1, 64, 64, ones=1), minimum=4)[0],
                    k.cut(k.scene[:, :16, :16], mask=mask(1, 16, 16, ones=16))[0])),
    Fine(CROP, "a box that reaches out of the scene", "what lies outside is cut off",
         lambda k: (k.cut(x=50, y=50, width=99, height=99)[0], k.cut(x=50, y=50, width=14, height=14)[0])),
    Fine(RESTORE, "the scene itself, or an edit that changed nothing", "the scene comes back, and the report says so",
         lambda k: told(k.restore(), k.scene, "nothing inserted")),
    Fine(RESTORE, "another scene's edit", "no geometry is undone, and the report says so",
         lambda k: told(k.restore(another(k.scene)), k.scene, "background not matched")),
    Fine(RESTORE, "an edit in which everything changed", "nearly all is the edit's, and the report says so",
         lambda k: nearly_all(k.restore(1 - k.scene), 1 - k.scene)),
    Fine(RESTORE, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask",
         lambda k: (k.restore(1 - k.scene, mask=mask(1, 9, 9))[0], k.restore(1 - k.scene)[0])),
    Fine(RESTORE, "a mask with nothing above 0", "the same as no mask",
         lambda k: (k.restore(1 - k.scene, mask=-mask(1, 64, 64, ones=40))[0], k.restore(1 - k.scene)[0])),
    Fine(RESTORE, "a bounding box", "the same as the filled box as a mask",
         lambda k: (k.restore(1 - k.scene, bounding_box=box(-9, 0, 48.5, 40))[1],
                    k.restore(1 - k.scene, mask=mask(1, 64, 64, ones=40))[1])),
    Fine(RESTORE, "a mask and a bounding box", "what is masked within the bounding box",
         lambda k: (k.restore(1 - k.scene, mask=mask(1, 64, 64, ones=64), bounding_box=box(0, 0, 40, 40))[1],
                    k.restore(1 - k.scene, mask=mask(1, 64, 64, ones=40))[1])),
    Fine(RESTORE, "the bounding boxes of a batch, none for one of its pictures", "that scene comes back as it is",
         lambda k: (k.restore(1 - k.two_scenes(), scene=k.two_scenes(), bounding_box=[[], [box(0, 0, 9, 9)]])[0][0],
                    k.scene[0])),
    Fine(RESTORE, "the bounding boxes of each of several edits", "each limits its own edit",
         lambda k: (k.restore(1 - k.two_scenes(), bounding_box=[[box(0, 0, 40, 40)], [box(0, 0, 9, 9)]])[1],
                    torch.cat([k.restore(1 - k.scene, mask=mask(1, 64, 64, ones=side))[1] for side in (40, 9)]))),
    Fine(RESTORE, "a mask that is white everywhere", "the same as no mask",
         lambda k: (k.restore(1 - k.scene, mask=mask(1, 64, 64, ones=64))[0], k.restore(1 - k.scene)[0])),
    Fine(RESTORE, "masks as other packs make them: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: k.restore(1 - k.scene, mask=form)[0])),
    Fine(RESTORE, "an edit of another size", "it is laid over the scene, at the scene's size",
         lambda k: told(k.restore(k.picture), k.scene, "background not matched")),
    Fine(RESTORE, "a scene of one pixel", "it is compared with the edit made as small; nothing is aligned",
         lambda k: told(k.restore(k.scene, scene=k.scene[:, :1, :1]), k.scene[:, :1, :1], "too little texture")),
    Fine(RESTORE, "a scene and an edit of 1x16,000 px", "nothing is aligned",
         lambda k: told(k.restore(long(0), scene=long(1)), long(1), "too little texture")),
    Fine(RESTORE, "a scene with alpha", "alpha stays as it was",
         lambda k: (k.restore(scene=opaque(k.scene, 0.3))[0], opaque(k.scene, 0.3))),
    Fine(RESTORE, "a greyscale scene or edit", "the same as three equal channels",
         lambda k: (k.restore(k.scene[..., :1], scene=k.scene[..., :1])[0], grey(k.scene))),
    Fine(RESTORE, "an object's picture that is wholly transparent", "there is nothing to compare with",
         lambda k: (k.restore(object_image=opaque(k.picture, 0.0))[0], k.scene)),
    Fine(SPLIT, "masks as other packs make them: [B,1,H,W], [B,H,W,1], bool, float16", "the same as [B,H,W]",
         lambda k: all_forms(lambda form: k.layers(object_mask=form, effect_mask=form)[0])),
    Fine(SPLIT, "a scene with alpha", "alpha is ignored",
         lambda k: (k.layers(image=k.scene * 0.5, scene=opaque(k.scene, 0.3), effect_mask=mask(1, 64, 64, ones=64))[1],
                    k.layers(image=k.scene * 0.5, effect_mask=mask(1, 64, 64, ones=64))[1])),
    Fine(SPLIT, "an empty object mask", "there is no object: what differs is shadow and light",
         lambda k: (k.layers(image=k.scene * 0.5, effect_mask=mask(1, 64, 64, ones=64))[0], mask(1, 64, 64, 4))),
    Fine(PLACE, "an unpainted mask", "the widgets' box is used",
         lambda k: (k.place(mask=mask(1, 64, 64))[0], k.place()[0])),
    Fine(PLACE, "a painted mask", "its bounding box replaces the widgets' box",
         lambda k: (k.place(mask=mask(1, 64, 64, ones=30))[0], k.place(x=0, y=0, width=30, height=30)[0])),
    Fine(PLACE, "a point and the widgets' box", "the object stands on the point, the box is not used",
         lambda k: (k.place(foot_x=30, foot_y=40)[0], k.place(foot_x=30, foot_y=40, x=40, width=8)[0])),
    Fine(PLACE, "a point and a painted mask", "the mask says where, the point is not used",
         lambda k: (k.place(mask=mask(1, 64, 64, ones=30), foot_x=99, foot_y=9)[0],
                    k.place(mask=mask(1, 64, 64, ones=30))[0])),
    Fine(PLACE, "an object of one pixel's box", "it is one pixel",
         lambda k: ((k.place(width=1, height=1)[1] > 0).sum(), torch.tensor(1))),
    Fine(PLACE, "a box that reaches out of the scene", "what lies outside is cut off",
         lambda k: (k.place(x=40, width=48, height=48, shadow=0.0)[0][:, :, :40], k.scene[:, :, :40])),
    Fine(PASTE, "an enlarged crop", "it is brought back to the region's size",
         lambda k: (k.paste(torch.ones(1, 128, 128, 3))[0], k.paste(torch.ones(1, 64, 64, 3))[0])),
    Fine(FIT, "an unpainted mask of any size, such as Load Image always gives", "the same as no mask",
         lambda k: (k.fit(mask=mask(1, 9, 9))[1], k.fit()[1])),
    Fine(FIT, "a scene of one pixel", "it is mirrored to one multiple",
         lambda k: (k.fit(k.scene[:, :1, :1])[0], k.scene[:, :1, :1].expand(1, 16, 16, 3))),
    Fine(FIT, "a greyscale scene", "the same as three equal channels",
         lambda k: (k.fit(k.scene[..., :1])[0], k.fit(grey(k.scene))[0])),
    Fine(UNDO, "a scene with alpha", "alpha comes back as it was",
         lambda k: (k.undo(k.scene, k.fit(opaque(k.scene, 0.3))[2])[0], opaque(k.scene, 0.3))),
    Fine(UNDO, "an enlarged edited picture", "it is brought back to the scene's size",
         lambda k: (k.undo(torch.ones(1, 128, 128, 3))[0], torch.ones(1, 64, 64, 3))),
    Fine(SAMPLER, "a scene of one pixel", "it is padded to one latent cell",
         lambda k: (k.result(scene=k.scene[:, :1, :1]), k.result(scene=k.scene[:, :1, :1].expand(1, 8, 8, 3)))),
    Fine(DOCTOR, "a model that does not say which file it is of", "it is not compared, and the report says so",
         lambda k: diagnosed(k, "skipped  parity with diffusers  the model does not say which file it is of",
                             model=(setattr(k.model, "cached_patcher_init", None), k.model)[1])),
    Fine(DOCTOR, "toy models that are damaged, or any check that fails", "a problem in the report, the rest goes on",
         lambda k: (damaged_toys(k), diagnosed(k, "problem  insertion in ComfyUI   "))[1]),
]  # fmt: skip


def page():
    lines = [
        "# Bad input",
        "",
        "What nodes and commands refuse, and how the error begins. `FILE` and `FOLDER` stand for the path in question.",
        "Every row is a test (tests/nodes/test_bad_input.py, tests/bad_commands.py), and this page is made of the same",
        "lists.",
        "",
        "| node | given | the error begins |",
        "|---|---|---|",
        *(f"| {case.node} | {case.given} | {case.error.strip()} |" for case in REFUSED),
        "",
        "## Commands",
        "",
        "Exit code 1, or 2 for what is missing; nothing that was there is changed.",
        "",
        "| command | given | the error begins |",
        "|---|---|---|",
        *(f"| `{case.command}` | {case.given} | {case.said} |" for case in bad_commands.REFUSED),
        "",
        "## Unusual, but fine",
        "",
        "| node | given | what happens |",
        "|---|---|---|",
        *(f"| {case.node} | {case.given} | {case.happens} |" for case in ACCEPTED),
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def models(comfy):
    return comfy("PlayroomModels")


@pytest.fixture
def kit(comfy, tmp_path, monkeypatch, models):
    kit = Kit(comfy, tmp_path, monkeypatch, models)
    kit.file.parent.mkdir(exist_ok=True)
    yield kit
    kit.file.unlink(missing_ok=True)
    kit.unet_file.unlink(missing_ok=True)
    kit.checkpoint.unlink(missing_ok=True)
    shutil.rmtree(kit.unet_folder, ignore_errors=True)


def name_of(case):
    return f"{case.node}: {case.given}"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_bad_input_has_its_clear_error(kit, case):
    with pytest.raises((ValueError, FileNotFoundError, demo.DemoError)) as caught:
        case.run(kit)
    said = str(caught.value)
    for path, shown in (
        *((kit.file, "FILE"), (kit.folder / "models", "FOLDER")),
        *((kit.unet_file, "FILE"), (kit.unet_folder, "FOLDER"), (kit.checkpoint, "FILE")),
        (kit.comfy.base / "models" / "loras" / NAME, "FILE"),
    ):
        said = said.replace(str(path), shown)
    assert said.replace("\\", "/").startswith(case.error)
    assert not kit.canary.exists()


@pytest.mark.parametrize("case", ACCEPTED, ids=name_of)
def test_unusual_input_works(kit, case):
    result, expected = case.same(kit)
    assert torch.isfinite(result).all()
    assert torch.allclose(result, expected, atol=1e-5)


def test_the_page_lists_what_is_tested(artifacts):
    made = artifacts / "bad_input.md"
    made.write_text(page(), encoding="utf-8")
    assert page() == PAGE.read_text("utf-8"), f"the list has changed: copy {made} to {PAGE}"


def test_the_program_in_the_pickles_would_run_if_it_were_let(kit):
    """Otherwise the tests above would prove nothing."""
    pickle.loads(pickle.dumps(Program(kit.canary)))
    assert kit.canary.exists()


def test_a_missing_optimizer_is_named_before_the_run(comfy):
    loader = comfy.nodes.NODE_CLASS_MAPPINGS["EmbeddingOptimizerLoader"]
    said = loader.validate_inputs(name="gone.safetensors")
    assert said.startswith("There is no embedding optimizer 'gone.safetensors'")
    assert str(comfy.base / "models" / "embedding_optimizers") in said
    assert loader.validate_inputs(name=None) is True, "a linked name is checked when it is known"


def test_a_header_of_any_length_is_safetensors(tmp_path):
    """One length in 32 begins with the byte that a pickle begins with."""
    first_bytes = set()
    for length in range(0, 256, 8):
        save_file({"weight": torch.ones(2)}, tmp_path / NAME, {"note": "x" * length})
        first_bytes.add((tmp_path / NAME).read_bytes()[0])
        assert read_weights(tmp_path / NAME)[1] == {"note": "x" * length}
    assert 0x80 in first_bytes


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damage_anywhere_in_a_weight_file_is_a_plain_error(tmp_path):
    """ValueError or, where the damage is in the numbers, tensors; whatever torch and safetensors raise inside."""
    path, random = tmp_path / NAME, np.random.default_rng(0)
    state = {"weight": torch.ones(3, 3), "bias": torch.zeros(2)}
    refused = 0
    for save in (torch.save, partial(torch.save, _use_new_zipfile_serialization=False), save_file):
        save(state, path)
        whole = path.read_bytes()
        for _ in range(300):
            damaged = bytearray(whole[: random.integers(1, len(whole) + 1)])
            damaged[random.integers(len(damaged))] = random.integers(256)
            path.write_bytes(damaged)
            try:
                read_weights(path)
            except ValueError as error:
                assert str(path) in str(error)
                refused += 1
    assert refused > 600


def test_a_good_optimizer_loads(kit):
    shutil.copy(kit.shipped / "embedding_optimizer.safetensors", kit.file)
    assert torch.equal(kit.condition(optimizer=kit.load())[0][0][0], kit.condition()[0][0][0])
    loader = kit.comfy.nodes.NODE_CLASS_MAPPINGS["EmbeddingOptimizerLoader"]
    assert loader.validate_inputs(name=NAME) is True
