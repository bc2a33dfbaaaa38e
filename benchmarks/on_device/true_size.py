"""Networks of Stable Diffusion 1.5's size, random numbers of 16 bits, in the real ComfyUI: steps a second, memory."""

from __future__ import annotations

import io
import json
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...devtools.environment import ROOT, find_host
from ...devtools.host import Graph, Host, Json
from ...devtools.pictures import png
from .findings import Findings, best_device
from .templates import picture_of, seconds_of

PACK = ROOT / "benchmarks" / "on_device" / "random_models"
PIX2PIX, PAINT, VAE = "random-pix2pix", "random-paint-by-example", "random-vae.safetensors"
FLAGS = {"normal": [], "lowvram": ["--disable-dynamic-vram", "--lowvram"]}  # where that is on, lowvram is nothing
STEPS = 20
SIDE = 512  # px
LARGE = (1600, 1280)  # px, 2 MP
ON_A_CPU = 64  # px, and a scene of a quarter of the large one's sides, 2 steps


def write_models(
    models: Path, unets: Sequence[tuple[str, int]] = ((PIX2PIX, 8), (PAINT, 9)), dtype: type = np.float16
) -> None:
    """UNets, by name and input channels, and a VAE below the host's models, in diffusers' layouts."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from ...tests import sd15
    from ...tests.nodes.test_real_size import write

    vae_shape: Any = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
    }

    def seeded(network: Any) -> dict[str, Any]:
        return {name: (name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()}

    for name, channels in unets:
        config = {"in_channels": channels, **sd15.UNET}
        with torch.device("meta"):
            unet = UNet2DConditionModel(**config)
        folder = models / "diffusers" / name
        for part in ("unet", "scheduler"):
            (folder / part).mkdir(parents=True)
        (folder / "unet/config.json").write_text(json.dumps(config), "utf-8")
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}), "utf-8")
        write(folder / "unet/diffusion_pytorch_model.safetensors", seeded(unet), dtype)
    (models / "vae").mkdir()
    with torch.device("meta"):
        vae = AutoencoderKL(**vae_shape)
    write(models / "vae" / VAE, seeded(vae), dtype)


def photograph(width: int, height: int) -> Image.Image:
    """A picture with structure at every scale."""
    rng = np.random.default_rng(0)
    total = np.zeros((height, width, 3))
    for octave in range(2, 8):
        noise = Image.fromarray(rng.integers(0, 255, (2**octave, 2**octave, 3), np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) * 2.0**-octave
    return Image.fromarray((255 * total / total.max()).astype(np.uint8))


def pix2pix_graph(scene: str, batch: int, seed: int, steps: int) -> Graph:
    """Scene -> insertion; node "sampler" is the one that counts."""
    return {
        "model": node("Pix2PixUNetLoader", name=PIX2PIX, weights="as saved"),
        "vae": node("VAELoader", vae_name=VAE),
        "context": node("RandomConditioning", tokens=77, width=768),
        "picture": node("LoadImage", image=scene),
        "scene": node("RepeatImageBatch", image=["picture", 0], amount=batch),
        "guidance": node("GuidanceControl", object_scale=7.5, scene_scale=1.5),
        **sampling(["scene", 0], seed, steps),
        "save": node("SaveImage", filename_prefix="true_size", images=["decoded", 0]),
        "relevance": node("MaskPreview", mask=["sampler", 1]),
    }


def sampling(scene: list[Any], seed: int, steps: int) -> dict[str, Json]:
    """The nodes from a scene to a decoded picture."""
    return {
        "sampler": node(
            "ImageConditionedPix2PixSampler",
            seed=seed,
            steps=steps,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["model", 0],
            vae=["vae", 0],
            scene=scene,
            positive=["context", 0],
            negative=["context", 1],
            guidance=["guidance", 0],
        ),
        "decoded": node("SceneDecode", latent=["sampler", 0], vae=["vae", 0], scene=scene),
    }


def region_graph(scene: str, seed: int, steps: int, side: int) -> Graph:
    """A region of a large scene, there and back, `side` px for the model."""
    box = dict(x=150, y=130, width=110, height=110)
    graph = dict(pix2pix_graph(scene, 1, seed, steps))
    del graph["relevance"], graph["scene"]
    crop = node("LocalRegionCrop", image=["picture", 0], expansion=0.5, working_size=side, regions="together", **box)
    graph |= {"crop": crop, **sampling(["crop", 0], seed, steps)}
    paste = dict(local_region=["crop", 2], image=["decoded", 0], feather=16, colour_match=0.0, area="changes")
    graph |= {"paste": node("LocalRegionPaste", **paste)}
    graph["save"] = node("SaveImage", filename_prefix="true_size", images=["paste", 0])
    return graph


def paint_graph(scene: str, batch: int, seed: int, steps: int) -> Graph:
    both = dict(positive=["context", 0], negative=["context", 1])
    return {
        "model": node("PaintByExampleUNet", name=PAINT),
        "vae": node("VAELoader", vae_name=VAE),
        "context": node("RandomConditioning", tokens=1, width=768),
        "picture": node("LoadImage", image=scene),
        "scene": node("RepeatImageBatch", image=["picture", 0], amount=batch),
        "mask": node("BoxToMask", image=["scene", 0], x=16, y=16, width=32, height=32),
        "conditions": node("PaintByExampleConditioning", **both, vae=["vae", 0], image=["scene", 0], mask=["mask", 0]),
        "sampler": node(
            "KSampler",
            seed=seed,
            steps=steps,
            cfg=5.0,
            sampler_name="ddim",
            scheduler="ddim_uniform",
            denoise=1.0,
            model=["model", 0],
            positive=["conditions", 0],
            negative=["conditions", 1],
            latent_image=["conditions", 2],
        ),
        "decoded": node("SceneDecode", latent=["sampler", 0], vae=["vae", 0], scene=["scene", 0]),
        "save": node("SaveImage", filename_prefix="true_size", images=["decoded", 0]),
    }


def node(kind: str, **inputs: Any) -> Json:
    return {"class_type": kind, "inputs": inputs}


class StepClock:
    """When each step of the sampler was done."""

    def __init__(self) -> None:
        self.moments: list[tuple[int, float]] = []

    def __call__(self, event: str, data: Any) -> None:
        if event == "progress" and data.get("node") == "sampler":
            self.moments.append((data["value"], time.monotonic()))

    def rate(self) -> float:
        """Steps a second, without the first one."""
        if len(self.moments) < 2:
            return math.nan
        (first, begun), (last, ended) = self.moments[0], self.moments[-1]
        return (last - first) / max(ended - begun, 1e-6)


def used_bytes() -> int:
    """Of the GPU's memory, by all processes; 0 where the driver does not tell."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)
    except Exception:
        return 0


@contextmanager
def memory_peak() -> Iterator[list[int]]:
    """A list whose one number is the most memory of the GPU in use inside."""
    peak = [used_bytes()]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], used_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def measure(findings: Findings) -> None:
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    gpu = best_device() != "cpu"
    steps = STEPS if gpu else 2
    if not gpu:
        findings.fact("note", f"there is no GPU: the CPU does {steps} steps of {ON_A_CPU} px")
    with tempfile.TemporaryDirectory(prefix="visual-insertion-") as folder:
        models = Path(folder, "models")
        with findings.attempt("write"):
            write_models(models)
        for name in FLAGS if gpu else ("normal",):
            before = used_bytes()
            with findings.attempt(name):
                findings.check_time()
                flags = dict(cpu=not gpu, flags=FLAGS[name], variables={"OMP_NUM_THREADS": "8"})
                with Host(home, models=models, more_packs=[PACK], **flags) as host:
                    _runs(findings, host, name, steps=steps, side=SIDE if gpu else ON_A_CPU, before=before)
                    findings.fact(f"{name}_log", host.log().splitlines()[-80:])


def _runs(findings: Findings, host: Host, name: str, *, steps: int, side: int, before: int) -> None:
    small = host.upload("small.png", png(photograph(side, side)))
    shrink = 1 if side == SIDE else 4
    large = host.upload("large.png", png(photograph(LARGE[0] // shrink, LARGE[1] // shrink)))
    graphs = {
        "pix2pix_1": lambda seed: pix2pix_graph(small, 1, seed, steps),
        "pix2pix_4": lambda seed: pix2pix_graph(small, 4, seed, steps),
        "region_2mp": lambda seed: region_graph(large, seed, steps, side),
        "paint_1": lambda seed: paint_graph(small, 1, seed, steps),
        "paint_4": lambda seed: paint_graph(small, 4, seed, steps),
    }
    for what, graph_of in graphs.items():
        if name != "normal" and not what.startswith("pix2pix"):
            continue
        with findings.attempt(f"{name}_{what}"):
            findings.check_time()
            for run in ("first", "warm"):
                clock = StepClock()
                graph = graph_of(1 if run == "first" else 2)
                with memory_peak() as peak:
                    entry = host.run(graph, clock)
                findings.figure(f"{name}_{what}_{run}_seconds", seconds_of(entry), "s, the whole graph")
            findings.figure(f"{name}_{what}_steps_per_second", clock.rate(), "steps a second")
            if peak[0]:
                findings.figure(f"{name}_{what}_gb", (peak[0] - before) / 1e9, "GB of the GPU at the peak")
            picture = picture_of(host, graph, entry)
            findings.figure(f"{name}_{what}_spread", float(picture.std()), "levels: 0 is a picture of one colour")
            if "relevance" in graph:
                shown = entry["outputs"]["relevance"]["images"][0]
                values = np.asarray(Image.open(io.BytesIO(host.view(shown))).convert("L"))
                findings.figure(f"{name}_{what}_relevance", float(values.std()), "levels, spread of the relevance")
            if name == "normal":
                findings.picture(what, Image.fromarray(picture))
