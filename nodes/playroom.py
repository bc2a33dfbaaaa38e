"""The toy models that ship with the pack, one loader for each system: they run anywhere."""

from comfy_api.latest import io

from .host.playroom_flux import encode_with_pictures, load_playroom_flux
from .host.playroom_models import load_paint_by_example_playroom, load_playroom
from .sockets import EmbeddingOptimizerType, ExemplarEncoderType, model_outputs


class PlayroomModels(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlayroomModels",
            display_name="Playroom Models",
            category="visual insertion",
            description="Toy models that ship with the pack: a picture in seconds on a CPU, in a world of toys. "
            "For photographs load real weights instead.",
            search_aliases=["toy models", "demo models", "insert object demo", "visual insertion"],
            inputs=[],
            outputs=[
                *model_outputs(),
                EmbeddingOptimizerType.Output(display_name="embedding_optimizer", tooltip="For Embedding Optimizer."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_playroom())


class PaintByExamplePlayroomModels(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PaintByExamplePlayroomModels",
            display_name="Paint by Example Playroom Models",
            category="visual insertion",
            description="Toy models of Paint by Example that ship with the pack: a picture in seconds on a CPU, in a "
            "world of toys. For photographs load real weights instead.",
            search_aliases=["toy models", "demo models", "inpaint reference demo", "visual insertion"],
            inputs=[],
            outputs=[
                *model_outputs(),
                ExemplarEncoderType.Output(display_name="exemplar_encoder", tooltip="For Paint by Example Encode."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_paint_by_example_playroom())


class PlayroomFlux(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlayroomFlux",
            display_name="Playroom Text-to-Picture",
            category="visual insertion",
            description="A toy text-to-picture model that ships with the pack, in the host's own Flux class: it draws "
            "rooms with toys, 128x128 px, in seconds on a CPU. For trying Add-It without a download.",
            search_aliases=["toy flux", "small flux", "tiny flux", "demo text to image", "add-it demo", "toy models"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler; cfg 3, scheduler simple, 20 steps."),
                io.Clip.Output(
                    display_name="clip",
                    tooltip="Reads captions such as: a room with a table and a red ball on the floor.",
                ),
                io.Vae.Output(display_name="vae", tooltip="The VAE of that model."),
                io.ClipVision.Output(display_name="clip_vision", tooltip="Sees a toy for Playroom Picture as Words."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_playroom_flux())


class PlayroomPictureWords(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlayroomPictureWords",
            display_name="Playroom Picture as Words",
            category="visual insertion",
            description="Shows a toy instead of telling it: a word of the prompt is replaced by what the toy's picture "
            "says. For the playroom's text-to-picture model.",
            search_aliases=["image prompt", "show object", "image as prompt", "exemplar prompt", "reference toy"],
            inputs=[
                io.Clip.Input("clip", tooltip="From Playroom Text-to-Picture."),
                io.ClipVisionOutput.Input("clip_vision_output", tooltip="The toy, from Object Image Encode."),
                io.String.Input(
                    "prompt",
                    default="a room with a table and a toy on the table",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The whole picture in words; the toy that is shown is called by the word below.",
                ),
                io.String.Input(
                    "word",
                    default="toy",
                    tooltip="The word of the prompt that the picture stands for; once for each picture of a batch.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="The prompt with the toy shown.")],
        )

    @classmethod
    def execute(cls, clip, clip_vision_output, prompt, word) -> io.NodeOutput:
        return io.NodeOutput(encode_with_pictures(clip, prompt, word, clip_vision_output.last_hidden_state))
