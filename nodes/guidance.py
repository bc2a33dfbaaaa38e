"""How much the object and the scene steer, and when."""

from dataclasses import asdict

from comfy_api.latest import io

from ..pipelines.sampling.guidance import Guidance
from .on_the_node import STAYS, on_the_node
from .sockets import GuidanceType


def _share(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(
        name, default=default, min=0.0, max=1.0, step=0.01, optional=True, advanced=True, tooltip=tooltip
    )


class GuidanceControl(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GuidanceControl",
            display_name="Guidance Control",
            category="visual insertion",
            description="How strongly the object and the scene steer, when, and how much contrast that may add. The "
            "node draws its schedule.",
            search_aliases=[
                "dual cfg",
                "image cfg",
                "cfg interval",
                "cfg rescale",
                "insert object strength",
                "visual insertion",
            ],
            inputs=[
                io.Float.Input(
                    "object_scale",
                    default=7.5,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly the object is wanted (s_T). 0 ignores it. Real weights like 5 to 9, "
                    "the playroom's 2 to 4.",
                ),
                io.Float.Input(
                    "scene_scale",
                    default=1.5,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How strongly the scene is kept (s_I). 1.2 to 1.8 is usual; 1 saves a third of the time.",
                ),
                _share("object_start", 0.0, "Object scale is active from this share of the noise schedule on."),
                _share("object_end", 1.0, "Object scale is active up to this share; afterwards it counts as 1."),
                _share("scene_start", 0.0, "Scene scale is active from this share of the noise schedule on."),
                _share("scene_end", 1.0, "Scene scale is active up to this share; afterwards it counts as 1."),
                _share("object_rescale", 0.0, "Pulls the contrast after object guidance back; try 0.7."),
                _share("scene_rescale", 0.0, "The same for the scene's term."),
            ],
            **STAYS,
            outputs=[GuidanceType.Output(display_name="guidance", tooltip="For the pix2pix sampler or guider.")],
        )

    @classmethod
    def execute(cls, **settings) -> io.NodeOutput:
        guidance = Guidance(**settings)
        return io.NodeOutput(guidance, ui=on_the_node(cls, schedule=[asdict(guidance)]))
