"""What of an installation works, told by the host that it is in."""

from __future__ import annotations

import time
from dataclasses import asdict

from comfy_api.latest import io, ui

from ..pipelines.doctor.check import Check, examined, report, verdict
from ..pipelines.doctor.checks import EVERYWHERE, IN_COMFYUI
from ..pipelines.doctor.insertion import SEED, STEPS, Edit, Sample, tried
from ..pipelines.doctor.parity import NAME as PARITY
from ..pipelines.doctor.parity import parity
from .embedding_optimizer import EmbeddingOptimizer
from .host.loaded_unet import loaded_unet
from .host.running_host import CANCELLED, running_installation, show_text, without_preview
from .object_image import ObjectImageEncode
from .pix2pix import ImageConditionedPix2PixSampler, SceneDecode
from .playroom import PlayroomModels
from .restoration import round_trip


class VisualInsertionDoctor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="VisualInsertionDoctor",
            display_name="Visual Insertion Doctor",
            category="visual insertion",
            description="Says what of this installation works: versions, device, weights and what pairs with what, and "
            "a small insertion with the toy models from end to end. Ends with what to do next.",
            search_aliases=[
                "self test",
                "troubleshoot",
                "diagnose",
                "check installation",
                "bug report",
                "not working",
                "system info",
            ],
            inputs=[
                io.Boolean.Input(
                    "check_hashes",
                    default=False,
                    optional=True,
                    tooltip="Read all known weight files to their end and compare their sha256, a minute for 7 GB; "
                    "else only their sizes.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="An InstructPix2Pix model of yours: one step of its UNet is compared with diffusers, if "
                    "that is installed.",
                ),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="All findings, to paste into a bug report.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> float:
        return time.time()  # the same inputs tell nothing about the machine

    @classmethod
    def execute(cls, check_hashes=False, model=None) -> io.NodeOutput:
        pictures = []

        def insertion(_) -> list[Check]:
            with without_preview():
                check, picture = tried(IN_COMFYUI, _insert)
            pictures.append(picture)
            return [check]

        examinations = {
            **EVERYWHERE,
            IN_COMFYUI: insertion,
            PARITY: lambda _: parity(None if model is None else loaded_unet(model)),
        }
        checks: list[Check] = []
        installation = running_installation(quick=not check_hashes)
        for check in examined(examinations, installation, passed_on=(CANCELLED,)):
            checks.append(check)
            show_text(cls.hidden.unique_id, f"{check.state}: {check.name}")
        text = report(checks)
        show_text(cls.hidden.unique_id, verdict(checks))
        preview = ui.PreviewImage(pictures[0], cls=cls).as_dict() if pictures else {}
        return io.NodeOutput(text, ui={**preview, "text": [text], "checks": [asdict(check) for check in checks]})


def _insert(pictures: Sample) -> Edit:
    """The insertion of the template insert_object, by the same nodes."""
    scene = pictures.scene
    model, vae, clip_vision, optimizer = PlayroomModels.execute().args
    seen = ObjectImageEncode.execute(clip_vision, pictures.object_picture)[0]
    positive, negative = EmbeddingOptimizer.execute(optimizer, seen).args
    latent, relevance = ImageConditionedPix2PixSampler.execute(
        model,
        vae,
        scene,
        positive,
        negative,
        seed=SEED,
        steps=STEPS,
        sampler_name="euler_ancestral",
        scheduler="normal",
        denoise=1.0,
        guidance=pictures.guidance,
    ).args
    return Edit(SceneDecode.execute(latent, vae, scene)[0], round_trip(vae, scene), relevance)
