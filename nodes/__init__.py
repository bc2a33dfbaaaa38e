"""ComfyUI's face on the methods: schemas and a few lines that call `pipelines` or the host."""

from comfy_api.latest import ComfyExtension, io

from . import (
    add_it,
    add_it_sampler,
    choosing,
    doctor,
    embedding_optimizer,
    fit,
    guidance,
    layers,
    learned_object,
    local_region,
    masks,
    object_image,
    paint_by_example,
    pix2pix,
    placement,
    playroom,
    presets,
    restoration,
    student,
    unet_loader,
)
from .host.schedule_route import serve_schedule
from .model_folders import register_model_folders
from .sample_pictures import offer_samples

NODES: list[type[io.ComfyNode]] = [  # in the order in which the host lists them
    object_image.ObjectImageEncode,
    embedding_optimizer.EmbeddingOptimizerLoader,
    embedding_optimizer.EmbeddingOptimizer,
    guidance.GuidanceControl,
    pix2pix.ImageConditionedPix2PixSampler,
    pix2pix.ImageConditionedPix2PixGuider,
    pix2pix.SceneDecode,
    playroom.PlayroomModels,
    unet_loader.Pix2PixUNetLoader,
    local_region.LocalRegionCrop,
    local_region.LocalRegionPaste,
    masks.BoxToMask,
    masks.ArbitraryMask,
    paint_by_example.PaintByExampleLoader,
    paint_by_example.PaintByExampleEncode,
    paint_by_example.PaintByExampleConditioning,
    playroom.PaintByExamplePlayroomModels,
    restoration.RestoreScene,
    layers.SplitLayers,
    layers.SaveLayers,
    placement.PlaceObject,
    fit.FitForEdit,
    fit.UndoFit,
    doctor.VisualInsertionDoctor,
    presets.InsertionModels,
    playroom.PlayroomFlux,
    playroom.PlayroomPictureWords,
    add_it.AddItPrompt,
    add_it.AddItPictureSubject,
    add_it.AddItAttention,
    add_it.AddItSubject,
    add_it.AddItBlend,
    add_it_sampler.AddItSampler,
    learned_object.LearnObject,
    learned_object.ApplyObject,
    choosing.GuidanceSweep,
    choosing.BestOf,
    student.ApplyStudent,
]


class VisualInsertionExtension(ComfyExtension):
    async def on_load(self) -> None:
        register_model_folders()
        offer_samples()
        serve_schedule()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
