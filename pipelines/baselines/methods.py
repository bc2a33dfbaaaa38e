"""The baselines as the command `evaluate` sees them; nothing of them is trained."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..method import Option
from ..paint_by_example.method import WEIGHTS as PAINT_BY_EXAMPLE

if TYPE_CHECKING:
    from PIL import Image

    from ..evaluation.cases import Benchmark, Case
    from ..evaluation.inserters import Inserter


class ToldInWords:
    """The case's instruction, as Paint by Inpaint and InstructPix2Pix were published."""

    name = "text"
    training = None
    options = ()

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        """Raises ValueError for a case without an instruction."""
        from ..evaluation.inserters import chosen_guidance, made_with, named, sampling_settings
        from .told_in_words import TextPipeline

        def instruction(case: Case) -> str:
            if not case.instruction:
                raise ValueError(
                    f"Case {case.name} of {benchmark.name} has no instruction, so that text says nothing. Benchmarks "
                    "with instructions: all but dreameditbench, insert-set and anyinsertion."
                )
            return case.instruction

        instruction(benchmark[0])  # before gigabytes are read
        pipeline = TextPipeline.from_folder(args.base, args.device, args.dtype)
        guidance = chosen_guidance(args, pipeline.guidance)
        settings = sampling_settings(args)
        sampling = {name: settings[name] for name in ("steps", "seed", "sampler")}

        def insert(case: Case) -> Image.Image:
            return pipeline(case.scene, instruction(case), guidance, **sampling).pictures()[0]

        return insert, made_with(args, pipeline, settings, files=named(args, "base"), guidance=guidance)


class FrozenSwap:
    """Vision tokens in the place of words, nothing trained."""

    name = "frozen_swap"
    training = None
    options = ()

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        from ..evaluation.inserters import named, showing_pictures
        from .frozen_swap import frozen_swap

        pipeline = frozen_swap(args.base, args.image_encoder, args.device, args.dtype)
        return showing_pictures(args, pipeline, named(args, "base", "image_encoder"))


class ExemplarToken:
    """Paint by Example's encoder in front of a UNet that was never trained with it."""

    name = "paint_by_example_encoder"
    training = None
    options = (PAINT_BY_EXAMPLE,)

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        from ..evaluation.inserters import named, showing_pictures
        from ..paint_by_example.checkpoints import model_folder
        from .exemplar_token import exemplar_in_front

        pipeline = exemplar_in_front(args.base, args.paint_by_example, args.image_encoder, args.device, args.dtype)
        files = named(args, "base", "image_encoder") | {"paint_by_example": model_folder(args.paint_by_example)}
        return showing_pictures(args, pipeline, files)


class IPAdapter:
    """Cross-attention of its own for the pictures, beside an empty prompt."""

    name = "ip_adapter"
    training = None
    options = (
        Option("--ip-adapter", "of ip-adapter: ip-adapter_sd15.safetensors or its Plus", metavar="FILE", needed=True),
        Option("--ip-adapter-encoder", "of the IP-Adapter; default: image_encoder beside its file"),
    )

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        from ..evaluation.inserters import named, showing_pictures
        from .ip_adapter import AdapterPipeline

        pipeline = AdapterPipeline.from_folder(
            args.base, args.ip_adapter, args.ip_adapter_encoder, args.device, args.dtype
        )
        return showing_pictures(args, pipeline, named(args, "base", "ip_adapter", "ip_adapter_encoder"))
