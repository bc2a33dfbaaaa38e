"""What a large scene costs through a local region: 4096 px against 512 px, the same object and working size.

    python dev.py bench local_region --repeats=3 --steps=5

Scene tensor in, picture tensor out, in the real host; files are not read or written. The object is encoded beforehand.
Few steps: what the large scene costs beyond the model then weighs most. Time is this process's own on one thread, so
that nothing else on the machine counts.
Peak memory is that of a process which makes one insertion and nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from statistics import median

import torch

from ..pipelines.playroom.world import dataset
from ..pipelines.playroom.world.triplets import make_triplet
from .bench_playroom import boot
from .figures import ROOT, record

SMALL = 512  # px, sides of the scenes
LARGE = 4096
SCALES = {"object_scale": 2.5, "scene_scale": 1.2}
SAMPLING = dict(seed=1, sampler_name="euler", scheduler="normal", denoise=1.0)


class Insertions:
    """One object into scenes of any size, as a whole or through a local region."""

    def __init__(self, working_size: int, steps: int):
        self.node = boot()
        self.working_size = working_size
        self.steps = steps
        import_module("comfy.utils").set_progress_bar_enabled(False)
        triplet = make_triplet(dataset.VALIDATION_SEEDS.start)
        self.room = torch.from_numpy(triplet.scene).movedim(-1, 0)[None].float() / 255
        self.model, self.vae, clip_vision, optimizer = self.node("PlayroomModels")
        thing = torch.from_numpy(triplet.objects[:1]).float() / 255
        (encoded,) = self.node("ObjectImageEncode", clip_vision=clip_vision, image=thing)
        self.tokens = self.node("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=encoded)
        (self.guidance,) = self.node("GuidanceControl", **SCALES)

    def scene(self, side: int) -> torch.Tensor:
        """A room of the playroom, enlarged to `side` px: [1,side,side,3]."""
        enlarged = torch.nn.functional.interpolate(self.room, (side, side), mode="bilinear")
        return enlarged.movedim(1, -1).contiguous()

    def whole(self, scene: torch.Tensor) -> torch.Tensor:
        """Scene [1,H,W,3] -> result, all of it through the model."""
        inputs = dict(model=self.model, vae=self.vae, scene=scene, guidance=self.guidance, steps=self.steps)
        inputs |= dict(zip(("positive", "negative"), self.tokens, strict=True))
        latent, _ = self.node("ImageConditionedPix2PixSampler", **inputs, **SAMPLING)
        return self.node("SceneDecode", latent=latent, vae=self.vae, scene=scene)[0]

    def local(self, scene: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scene -> (result, changed) through the window around a box in the scene's middle, 256 px."""
        middle = scene.shape[1] // 2 - 64
        box = dict(x=middle, y=middle, width=128, height=128)
        settings = dict(expansion=0.5, working_size=self.working_size, regions="together")
        crop, _, region, _ = self.node("LocalRegionCrop", image=scene, **settings, **box)
        edited = self.whole(crop)
        pasting = dict(feather=16, colour_match=0.0, area="changes")
        return self.node("LocalRegionPaste", local_region=region, image=edited, **pasting)


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each way: A B C, A B C, ..., after one run of each that does not count."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            seconds[name].append(time.process_time() - begun)
    return seconds


def own_peak_mb() -> float:
    """The most memory this process has had so far, MB; Linux only. (A child's ru_maxrss starts at its parent's.)"""
    _, _, peak = Path("/proc/self/status").read_text().partition("VmHWM:")
    return int(peak.split()[0]) / 1024


def peak_mb(side: int, arguments: argparse.Namespace) -> float:
    """MB a fresh process needs at most, for one insertion into a scene of `side` px."""
    options = [f"--working-size={arguments.working_size}", f"--steps={arguments.steps}", f"--peak={side}"]
    launcher = [sys.executable, str(ROOT / "devtools" / "pack.py"), "benchmarks.bench_local_region"]
    lines = subprocess.run([*launcher, *options], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return float(lines.strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser("bench_local_region", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--working-size", type=int, default=512)
    parser.add_argument("--peak", type=int, metavar="SIDE", help="make one insertion and print this process's peak, MB")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    insert = Insertions(args.working_size, args.steps)
    if args.peak:
        insert.local(insert.scene(args.peak))
        print(own_peak_mb())
        return 0

    small = insert.scene(SMALL)
    large = insert.scene(LARGE)
    result, changed = insert.local(large)
    untouched = changed == 0
    equal = torch.equal(result[untouched], large[untouched]) and bool((result != large).any())
    del result, changed, untouched
    ways = {
        "512 as a whole": lambda: insert.whole(small),
        "512 through a region": lambda: insert.local(small),
        "4096 through a region": lambda: insert.local(large),
    }
    seconds = interleaved(ways, args.repeats)
    for name, times in seconds.items():
        print(f"{name:24}{median(times):8.3f} s")
    whole, small_region, large_region = seconds.values()
    to_region = median(a / b for a, b in zip(large_region, small_region, strict=True))
    to_whole = median(a / b for a, b in zip(large_region, whole, strict=True))
    peaks = {side: peak_mb(side, args) for side in (SMALL, LARGE)}
    scene_mb = large.untyped_storage().nbytes() / 2**20
    print(f"4096 px takes {to_region:.3f} of the time of 512 px through a region, {to_whole:.3f} of that without one")
    print(
        f"peak {peaks[SMALL]:.0f} MB at 512 px, {peaks[LARGE]:.0f} MB at 4096 px, where the scene is {scene_mb:.0f} MB"
    )
    figures = {
        "highres_time_ratio": (round(to_region, 4), "insertion of 4096 px / of 512 px, both through a local region"),
        "highres_time_ratio_to_whole": (
            round(to_whole, 4),
            "insertion of 4096 px through a region / 512 px as a whole",
        ),
        "highres_peak_mb": (round(peaks[LARGE]), "MB, whole process, one insertion of 4096 px"),
        "highres_peak_mb_of_512": (round(peaks[SMALL]), "MB, whole process, one insertion of 512 px"),
        "outside_bit_equal": (float(equal), "1 if every pixel of a 4096 px scene not reported as changed is bit-equal"),
    }
    if not args.dry:
        print(record("exemplar", figures, "python dev.py bench local_region"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
