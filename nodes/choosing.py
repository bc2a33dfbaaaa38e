"""Which result is the best, by what is known when it is made: among seeds, scales, or any editor's results."""

from comfy_api.latest import io

from ..pipelines.choosing.ranking import ranked
from ..pipelines.choosing.sweep import cells_of, check_runs, picked_cell, scales_in, seeds_from
from ..pipelines.choosing.table import Table
from ..pipelines.choosing.terms import measure, with_opacity
from ..pipelines.pictures.files import picture_tensor
from ..pipelines.sampling.guidance import Guidance
from .host.guidance_sweep import Run, Sweep
from .host.node_output import node_output
from .host.run_progress import run_progress
from .on_the_node import STAYS, on_the_node
from .pix2pix import MASK_TOOLTIP, conditioning_inputs, sampler_inputs
from .sockets import EmbeddingOptimizerType, GuidanceType, seed_input

EYE_TOOLTIP = (
    "Optional: what appeared is then compared as the embedding optimizer reads it. The toys need it; a large CLIP "
    "tells objects apart by itself."
)


def _object_inputs() -> list[io.Input]:
    return [
        io.ClipVision.Input("clip_vision", tooltip="The eye that compares what appeared with the object."),
        io.Image.Input("object_image", tooltip="The object that was asked for; a batch is several views of it."),
    ]


def _optional_inputs() -> list[io.Input]:
    return [
        io.Mask.Input("object_mask", optional=True, tooltip="Where the object is in its picture."),
        EmbeddingOptimizerType.Input("embedding_optimizer", optional=True, tooltip=EYE_TOOLTIP),
    ]


def _eye(clip_vision, embedding_optimizer):
    """Pictures as tokens, through the host."""

    def see(pictures):
        tokens = clip_vision.encode_image(pictures, crop=False)["last_hidden_state"]
        return tokens if embedding_optimizer is None else embedding_optimizer.contexts(tokens, 1.0, "separate")[0]

    return see


class BestOf(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="BestOf",
            display_name="Best Of",
            category="visual insertion",
            description="Ranks a batch of results, from seeds or from any editor, by what can be known without a "
            "target: did the object appear, is it like its picture, did the rest of the scene stay, is it neither "
            "pasted nor oversized.",
            search_aliases=[
                "best of n",
                "choose best image",
                "rank images",
                "pick best seed",
                "image score",
                "sort images",
                "compare results",
                "insert object",
            ],
            inputs=[
                io.Image.Input(
                    "images", tooltip="The results, a batch: of several seeds, scales or editors; any size."
                ),
                io.Image.Input("scene", tooltip="The picture as it was before."),
                *_object_inputs(),
                *_optional_inputs(),
                io.Boolean.Input(
                    "align_geometry",
                    default=True,
                    optional=True,
                    tooltip="Undo shift, zoom, turn and stretch before comparing, as Restore Scene does. Our own "
                    "sampler moves nothing: off is faster.",
                ),
            ],
            **STAYS,
            outputs=[
                io.Image.Output(display_name="image", tooltip="The best result, as it came in."),
                io.Image.Output(display_name="images", tooltip="All results, the best first."),
                io.Image.Output(display_name="sheet", tooltip="The results in their order with their scores."),
                io.Int.Output(display_name="index", tooltip="Which of the batch is the best, from 0 on."),
                io.String.Output(display_name="report", tooltip="The terms of each score."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images,
        scene,
        clip_vision,
        object_image,
        object_mask=None,
        embedding_optimizer=None,
        align_geometry=True,
    ) -> io.NodeOutput:
        terms = measure(
            scene,
            images,
            with_opacity(object_image, object_mask),
            _eye(clip_vision, embedding_optimizer),
            colour=clip_vision.image_mean,
            align_geometry=align_geometry,
            progress=run_progress(len(images)),
        )
        ranking = ranked(terms)
        sheet = picture_tensor(ranking.sheet(images))
        report = ranking.text()
        shown = on_the_node(cls, report, picture=sheet, scores=[one.score for one in terms])
        return node_output(images[[ranking.best]], images[ranking.order], sheet, ranking.best, report, ui=shown)


class GuidanceSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        conditioning = {one.id: one for one in conditioning_inputs()}
        del conditioning["guidance"]
        return io.Schema(
            node_id="GuidanceSweep",
            display_name="Guidance Sweep",
            category="visual insertion",
            description="Object scale against scene scale, with one or more seeds, in one labelled and scored sheet; "
            "the chosen cell goes on as guidance. The scene is encoded once.",
            search_aliases=[
                "xy plot",
                "xyz plot",
                "grid",
                "guidance grid",
                "cfg sweep",
                "find best cfg",
                "compare scales",
                "best seed",
                "insert object",
            ],
            inputs=[
                *conditioning.values(),
                *_object_inputs(),
                io.String.Input(
                    "object_scales",
                    default="5, 7.5, 10",
                    tooltip='Columns of the sheet: numbers, or a range such as "5..10 x 3". The playroom likes 2 to 4.',
                ),
                io.String.Input(
                    "scene_scales",
                    default="1.2, 1.5, 1.8",
                    tooltip="Rows of the sheet, written alike. At 1 a third of the time is saved.",
                ),
                seed_input("The first seed; further ones are the next numbers."),
                io.Int.Input("seeds", default=1, min=1, max=16, tooltip="How many seeds each cell is sampled with."),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Of each run."),
                *sampler_inputs("euler_ancestral", "normal"),
                io.String.Input(
                    "pick", default="best", tooltip='The cell that goes on: best by score, or "row, column" from 1 on.'
                ),
                GuidanceType.Input(
                    "guidance", optional=True, tooltip="Intervals and rescales of all cells; its scales do not count."
                ),
                io.Mask.Input("mask", optional=True, tooltip=MASK_TOOLTIP),
                *_optional_inputs(),
            ],
            **STAYS,
            outputs=[
                GuidanceType.Output(display_name="guidance", tooltip="The chosen cell, for the sampler or guider."),
                io.Image.Output(display_name="image", tooltip="The chosen cell's best picture."),
                io.Image.Output(display_name="sheet", tooltip="All cells with their scales and scores."),
                io.Int.Output(display_name="best_seed", tooltip="Of that picture: the sampler makes the same from it."),
                io.String.Output(display_name="report", tooltip="The cells from the best to the worst."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        vae,
        scene,
        positive,
        negative,
        clip_vision,
        object_image,
        object_scales,
        scene_scales,
        seed,
        seeds,
        steps,
        sampler_name,
        scheduler,
        pick,
        guidance=None,
        mask=None,
        object_mask=None,
        embedding_optimizer=None,
    ) -> io.NodeOutput:
        columns = scales_in(object_scales, "object_scales")
        cells = cells_of(guidance or Guidance(), columns, scales_in(scene_scales, "scene_scales"))
        check_runs(len(cells), seeds)
        picked = picked_cell(pick, cells)
        objects = with_opacity(object_image, object_mask)
        runs = [Run(cell.guidance, one) for cell in cells for one in seeds_from(seed, seeds)]
        sweep = Sweep.of(
            model, vae, scene, positive=positive, negative=negative, mask=mask, steps=steps, sampler=sampler_name,
            scheduler=scheduler,
        )  # fmt: skip
        pictures = sweep.decoded(sweep.finished(runs))
        eye = _eye(clip_vision, embedding_optimizer)
        terms = measure(scene, pictures, objects, eye, colour=clip_vision.image_mean, align_geometry=False)
        table = Table(cells, seeds, terms, picked)
        best = pictures[[table.run]]
        sheet = picture_tensor(table.sheet(pictures))
        report = table.text()
        spent = f"{sweep.evaluations} UNet evaluations, {sweep.shared} more shared at the first step"
        shown = on_the_node(cls, report, spent, picture=sheet, unet_evaluations=[sweep.evaluations])
        chosen = runs[table.run]
        return node_output(chosen.guidance, best, sheet, chosen.seed, report, ui=shown)
