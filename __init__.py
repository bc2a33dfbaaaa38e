"""ComfyUI-Visual-Insertion: put an object into a picture by showing it.

In Python, without ComfyUI: `import visual_insertion_pack as vi`. What PYTHON lists is loaded when it is first used.
"""

from importlib import import_module

WEB_DIRECTORY = "./web"
PYTHON = {  # names of the front door, and the files that they are in
    "VisualInsertionPipeline": ".pipelines.front_door.pipelines",
    "PaintByExamplePipeline": ".pipelines.front_door.pipelines",
    "AddItPipeline": ".pipelines.front_door.pipelines",
    "Output": ".pipelines.front_door.pipelines",
    "SAMPLES": ".pipelines.front_door.pipelines",
    "BENCHMARKS": ".pipelines.front_door.benchmarks",
    "read_benchmark": ".pipelines.front_door.benchmarks",
}


async def comfy_entrypoint():
    from .nodes import VisualInsertionExtension

    return VisualInsertionExtension()


def __getattr__(name):
    if name == "__version__":
        return import_module(".pipelines.provenance", __name__).pack_version()
    if name in PYTHON:
        return getattr(import_module(PYTHON[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*globals(), "__version__", *PYTHON]
