"""A UNet patch and its optimizer, trained here for a few steps, through every door: one picture of all of them.

`patch_doors_max_abs`: the largest difference of a pixel (0..1) between the Python pipeline and the nodes in the real
host, the command, and diffusers' own `load_lora_weights` (which needs the package peft). The command writes 8 bits: it
is compared with the pipeline's picture in 8 bits.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..devtools.inprocess import InProcess
from ..pipelines.__main__ import main as command_line
from ..pipelines.pictures.files import picture_tensor, pil_pictures
from ..pipelines.playroom.world import dataset
from ..pipelines.playroom.world.folders import write_folder
from ..pipelines.playroom.world.triplets import make_triplet
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from ..pipelines.visual_insertion.trained_files import files_of_run
from .bench_playroom import boot
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
STEPS = 6  # of the sampler
SEED = 3
NAME = "trained_for_the_doors.safetensors"  # of optimizer and patch in the host's folders
TRAINED = ("run.steps=6", "run.warmup=1", "run.learning_rate=3e-3", "run.precision=fp32", "batch=4")
QUIET = ("run.validate_every=0", "data.validation=null", "run.log_every=6")


def train(folder: Path) -> Path:
    """The folder of a run of a few steps on toys: an optimizer and a patch that belong together."""
    write_folder(folder / "train", range(8), views=1)
    places = (f"folder={(folder / 'run').as_posix()}", f"data.train={(folder / 'train').as_posix()}")
    code = command_line(["train", "playroom", "--set", *TRAINED, *QUIET, *places, f"models.base={MODELS.as_posix()}"])
    assert code == 0, "the run did not end well"
    return folder / "run"


class Case:
    """A toy and a scene that no run has seen, as files and as tensors."""

    def __init__(self, folder: Path):
        triplet = make_triplet(dataset.TEST_SEEDS.start)
        self.scene_file = folder / "scene.png"
        self.object_file = folder / "object.png"
        Image.fromarray(triplet.scene).save(self.scene_file)
        Image.fromarray(triplet.objects[0]).save(self.object_file)
        self.scene = picture_tensor(Image.open(self.scene_file))
        self.object = picture_tensor(Image.open(self.object_file))

    def insert(self, pipeline: VisualInsertionPipeline) -> Tensor:
        """[1,H,W,3] of the Python pipeline."""
        return pipeline(self.scene, self.object, steps=STEPS, seed=SEED, sampler="euler").images


def through_the_command(case: Case, run: Path, output: Path) -> Tensor:
    """[1,H,W,3] of `insert --run`, in 8 bits."""
    pictures = ["--scene", str(case.scene_file), "--object", str(case.object_file), "--output", str(output)]
    settings = ["--steps", str(STEPS), "--seed", str(SEED), "--sampler", "euler", "--no-restore", "--device", "cpu"]
    assert command_line(["insert", *pictures, "--run", str(run), *settings]) == 0
    return picture_tensor(Image.open(output))


def through_the_nodes(case: Case, run: Path, comfy: InProcess) -> Tensor:
    """[1,H,W,3] of Playroom Models, the stock LoRA loader and our nodes."""
    files = files_of_run(run)
    for kind, file in (("loras", files.unet_patch), ("embedding_optimizers", files.embedding_optimizer)):
        (comfy.base / "models" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file), comfy.base / "models" / kind / NAME)
    model, vae, clip_vision, _ = comfy("PlayroomModels")
    (patched,) = comfy("LoraLoaderModelOnly", model=model, lora_name=NAME, strength_model=1.0)
    (optimizer,) = comfy("EmbeddingOptimizerLoader", name=NAME)
    (encoded,) = comfy("ObjectImageEncode", clip_vision=clip_vision, image=case.object, background="keep")
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=encoded)
    scales = VisualInsertionPipeline.from_run(run).guidance
    (guidance,) = comfy("GuidanceControl", object_scale=scales.object_scale, scene_scale=scales.scene_scale)
    conditions = dict(positive=positive, negative=negative, guidance=guidance, denoise=1.0)
    sampling = dict(seed=SEED, steps=STEPS, sampler_name="euler", scheduler="normal")
    latents = comfy(
        "ImageConditionedPix2PixSampler", model=patched, vae=vae, scene=case.scene, **conditions, **sampling
    )
    return comfy("SceneDecode", latent=latents[0], vae=vae, scene=case.scene)[0]


def through_diffusers(case: Case, run: Path, folder: Path) -> Tensor:
    """[1,H,W,3] of a pipeline whose UNet diffusers' own loader patched."""
    files = files_of_run(run)
    lora = folder / "diffusers_lora.safetensors"
    converted = ["convert", "diffusers-lora", str(files.unet_patch), str(lora), "--base", str(MODELS / "unet")]
    assert command_line([*converted, "--dtype", "fp32"]) == 0
    pipeline = VisualInsertionPipeline.from_folder(MODELS, files.embedding_optimizer, unet_patch="none")
    pipeline.pipeline.load_lora_weights(folder, weight_name=lora.name)
    return case.insert(pipeline)


def in_8_bits(images: Tensor) -> Tensor:
    return picture_tensor(pil_pictures(images)[0])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train(folder)
        case = Case(folder)
        expected = case.insert(VisualInsertionPipeline.from_run(run))
        doors = {
            "command": (through_the_command(case, run, folder / "result.png"), in_8_bits(expected)),
            "nodes": (through_the_nodes(case, run, boot()), expected),
            "diffusers": (through_diffusers(case, run, folder), expected),
        }
        without = VisualInsertionPipeline.from_folder(
            MODELS, run / "embedding_optimizer.safetensors", unet_patch="none"
        )
        effect = float((case.insert(without) - expected).abs().max())
    differences = {door: float((image - python).abs().max()) for door, (image, python) in doors.items()}
    for door, difference in differences.items():
        print(f"{door:12}{difference:.3g}")
    print(f"{'no patch':12}{effect:.3g}")
    values = {
        "patch_doors_max_abs": (max(differences.values()), "pixel 0..1, nodes, command and diffusers to Python"),
        "patch_effect_max_abs": (effect, "pixel 0..1, with the patch to without it"),
    }
    record("research", values, "python dev.py bench patch_doors")


if __name__ == "__main__":
    main()
