"""Load Pix2Pix UNet: every public layout gives the model that diffusers runs, as a stock MODEL.

What it refuses is in test_bad_input.py, the real size in test_real_size.py.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.weights import layouts, reading
from visual_insertion_pack.pipelines.weights import tensors as weight_tensors
from visual_insertion_pack.tests.nodes.parts import relative

ROOT = Path(__file__).resolve().parents[2]
CONFIG = dict(
    in_channels=8,
    out_channels=4,
    block_out_channels=[32, 64, 64],
    down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    layers_per_block=2,
    cross_attention_dim=24,
    attention_head_dim=4,
)
FILE, FOLDER = "small.safetensors", "small"
STEM = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def theirs():
    """diffusers' own network."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**CONFIG).eval()


@pytest.fixture(scope="module")
def state(theirs):
    return {name: tensor.clone() for name, tensor in theirs.state_dict().items()}


@pytest.fixture
def models(comfy, monkeypatch):
    """The host's model folders, emptied afterwards; a file without a config may be of the small size here."""
    from visual_insertion_pack.nodes.host import pix2pix_unets

    monkeypatch.setattr(pix2pix_unets, "SD15", CONFIG)
    folders = [comfy.base / "models" / name for name in ("diffusion_models", "checkpoints", "diffusers", "loras")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    yield comfy.base / "models"
    for thing in (thing for folder in folders for thing in folder.iterdir()):  # the host remembers the folders
        shutil.rmtree(thing) if thing.is_dir() else thing.unlink()


@pytest.fixture
def load(comfy, models):
    def load(name=FILE, weights="as saved"):
        return comfy("Pix2PixUNetLoader", name=name, weights=weights)[0]

    return load


@pytest.fixture
def ldm(state):
    """ldm(prefix, state): the tensors under their LDM names."""

    def rename(prefix="model.diffusion_model.", tensors=state):
        names = layouts.to_ldm(tensors)
        return {prefix + names[name]: tensor for name, tensor in tensors.items()}

    return rename


def half(tensors):
    return {name: tensor.half() for name, tensor in tensors.items()}


def make_folder(folder, scheduler=None, pipeline=True):
    unet = folder / "unet" if pipeline else folder
    unet.mkdir(parents=True)
    (unet / "config.json").write_text(json.dumps(CONFIG))
    if scheduler:
        (folder / "scheduler").mkdir()
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": scheduler}))
    return unet


def save_shards(folder, tensors, count=3, kind="safetensors", index=f"{STEM}.{{}}.index.json"):
    """As diffusers does; weight and bias of a layer may be apart."""
    save = save_file if kind == "safetensors" else torch.save
    placed = {name: f"{STEM}-{number % count + 1:05}-of-{count:05}.{kind}" for number, name in enumerate(tensors)}
    for shard in set(placed.values()):
        save({name: tensors[name] for name in placed if placed[name] == shard}, folder / shard)
    (folder / index.format(kind)).write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def inputs():
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(2, 8, 16, 16, generator=generator),
        torch.tensor([7, 900]),
        torch.randn(2, 5, CONFIG["cross_attention_dim"], generator=generator),
    )


def predict(model):
    """The noise prediction of a MODEL as the sampler would get it, in what the host computes in."""
    import comfy.model_management

    noisy, steps, context = inputs()
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([model], force_patch_weights=True)
        return model.model.diffusion_model(noisy, steps, context=context).clone()


def reference(theirs, tensors=None):
    from diffusers import UNet2DConditionModel

    network = theirs
    if tensors is not None:
        network = UNet2DConditionModel(**CONFIG).eval()
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    with torch.inference_mode():
        return network(*inputs()).sample


def weights_of(model):
    return model.model.diffusion_model.state_dict()


# every layout

LAYOUTS = {
    "a file of diffusers names": lambda m, s, ldm: save_file(s, m / "diffusion_models" / FILE),
    "a file of LDM names": lambda m, s, ldm: save_file(ldm(""), m / "diffusion_models" / FILE),
    "a checkpoint": lambda m, s, ldm: save_file(
        ldm() | {"first_stage_model.encoder.conv_in.weight": torch.ones(2)}, m / "checkpoints" / FILE
    ),
    "a pickle": lambda m, s, ldm: torch.save(s, m / "diffusion_models" / "small.bin"),
    "a pipeline folder": lambda m, s, ldm: save_file(
        s, make_folder(m / "diffusers" / FOLDER, "epsilon") / f"{STEM}.safetensors"
    ),
    "a UNet's folder": lambda m, s, ldm: save_file(
        s, make_folder(m / "diffusers" / FOLDER, pipeline=False) / f"{STEM}.safetensors"
    ),
    "a folder with an fp16 variant": lambda m, s, ldm: save_file(
        s, make_folder(m / "diffusers" / FOLDER) / f"{STEM}.fp16.safetensors"
    ),
    "a folder of shards": lambda m, s, ldm: save_shards(make_folder(m / "diffusers" / FOLDER), s),
    "a folder of fp16 shards": lambda m, s, ldm: save_shards(
        make_folder(m / "diffusers" / FOLDER), s, index=f"{STEM}.{{}}.index.fp16.json"
    ),
    "a folder with a pickle": lambda m, s, ldm: torch.save(s, make_folder(m / "diffusers" / FOLDER) / f"{STEM}.bin"),
    "a folder of pickled shards": lambda m, s, ldm: save_shards(make_folder(m / "diffusers" / FOLDER), s, kind="bin"),
}
NAMES = {"a pickle": "small.bin"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_and_is_what_diffusers_runs(load, models, state, ldm, theirs, layout):
    LAYOUTS[layout](models, state, ldm)
    model = load(NAMES.get(layout, FOLDER if "folder" in layout else FILE))
    found, wanted = weights_of(model), ldm("")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert relative(predict(model), reference(theirs)) <= 1e-4


@pytest.mark.parametrize("layout", ["a file of diffusers names", "a checkpoint", "a folder of shards", "a pickle"])
def test_half_stays_half_in_memory_and_computes_in_full(load, models, state, ldm, theirs, layout):
    LAYOUTS[layout](models, half(state), lambda prefix="model.diffusion_model.": half(ldm(prefix)))
    model = load(NAMES.get(layout, FOLDER if "folder" in layout else FILE))
    assert {tensor.dtype for tensor in weights_of(model).values()} == {torch.float16}
    assert model.model.get_dtype() == torch.float16 and model.model.get_dtype_inference() == torch.float32
    assert relative(predict(model), reference(theirs, half(state))) <= 1e-4


def test_a_16_bit_variant_is_preferred(load, models, state):
    folder = make_folder(models / "diffusers" / FOLDER)
    save_file(state, folder / f"{STEM}.safetensors")
    save_file(half(state), folder / f"{STEM}.fp16.safetensors")
    assert {tensor.dtype for tensor in weights_of(load(FOLDER)).values()} == {torch.float16}


def test_the_averaged_copy_is_a_choice(load, models, state, ldm):
    torch.manual_seed(5)
    average = {name: tensor + torch.randn_like(tensor) for name, tensor in ldm("").items()}
    copy = {layouts.averaged_name(name): tensor for name, tensor in average.items()}
    counters = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}
    save_file(ldm() | copy | counters, models / "checkpoints" / FILE)
    trained, averaged = weights_of(load()), weights_of(load(weights="averaged (EMA)"))
    assert all(torch.equal(trained[name], tensor) for name, tensor in ldm("").items())
    assert all(torch.equal(averaged[name], tensor) for name, tensor in average.items())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_folder_says_what_its_network_predicts(load, models, state, prediction):
    save_file(state, make_folder(models / "diffusers" / FOLDER, prediction) / f"{STEM}.safetensors")
    kind = {"epsilon": "EPS", "v_prediction": "V_PREDICTION"}[prediction]
    assert load(FOLDER).model.model_type.name == kind


def test_the_list_names_files_and_folders(models, state, comfy):
    from visual_insertion_pack.nodes.unet_loader import MODELS

    (models / "diffusion_models" / "a.safetensors").write_bytes(b"")
    (models / "checkpoints" / "b.safetensors").write_bytes(b"")
    make_folder(models / "diffusers" / "paint" / "add-base")  # its unet/ is not another
    torch.save(state, make_folder(models / "diffusers" / "alone", pipeline=False) / f"{STEM}.bin")
    (models / "diffusers" / "empty").mkdir()
    names = MODELS.names()
    assert names == ["a.safetensors", "b.safetensors", "alone", "paint/add-base"]
    loader = comfy.nodes.NODE_CLASS_MAPPINGS["Pix2PixUNetLoader"]
    assert [loader.validate_inputs(name=name) for name in [*names, None]] == [True] * 5
    for name in ("gone.safetensors", "../models/diffusers/alone", "paint/add-base/unet"):
        said = loader.validate_inputs(name=name)
        assert said.startswith(f"There is no UNet '{name}'") and str(models / "diffusers") in said


# reading as a stream


class Watch:
    """In place of `safe_open`: which files are open, and which tensors were read."""

    def __init__(self, opener):
        self.opener, self.open, self.most, self.read = opener, 0, 0, []

    def __call__(self, path, framework):
        watch = self

        class File:
            def __enter__(self):
                watch.open += 1
                watch.most = max(watch.most, watch.open)
                self.file = watch.opener(path, framework=framework).__enter__()
                return self

            def __exit__(self, *_):
                watch.open -= 1

            def __getattr__(self, name):
                return getattr(self.file, name)

            def get_tensor(self, name):
                watch.read.append((path.name, name))
                return self.file.get_tensor(name)

        return File()


@pytest.mark.parametrize("window", [1, 100_000, 1 << 28])
def test_shards_are_read_one_after_the_other_each_tensor_once(load, models, state, monkeypatch, window):
    save_shards(make_folder(models / "diffusers" / FOLDER), state)
    watch = Watch(reading.safe_open)
    monkeypatch.setattr(reading, "safe_open", watch)
    monkeypatch.setattr(weight_tensors, "WINDOW", window)
    found = weights_of(load(FOLDER))
    assert len(found) == len(state)
    assert sorted(name for _, name in watch.read) == sorted(state)
    order = [shard for shard, _ in watch.read]
    assert order == sorted(order), "a shard was opened again after another"
    assert (watch.most, watch.open) == (1, 0)


def test_a_damaged_shard_is_found_before_any_network_is_built(load, models, state, monkeypatch):
    from visual_insertion_pack.nodes.host import pix2pix_unets

    folder = make_folder(models / "diffusers" / FOLDER)
    save_shards(folder, state)
    last = folder / f"{STEM}-00003-of-00003.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    monkeypatch.setattr(pix2pix_unets, "build", None)
    with pytest.raises(ValueError, match="00003-of-00003.safetensors is not a readable safetensors file"):
        load(FOLDER)


def test_progress_moves_and_a_cancelled_run_stops(load, models, state, comfy, monkeypatch):
    import comfy.model_management as management
    import comfy.utils

    save_file(state, models / "diffusion_models" / FILE)
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda done, total, *_, **__: seen.append((done, total)))
    load()
    assert seen[-1] == (len(state), len(state))
    seen.clear()

    def cancel(done, *_, **__):
        seen.append(done)
        management.interrupt_current_processing(True)

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", cancel)
    with pytest.raises(management.InterruptProcessingException):
        load()
    assert len(seen) == 1


# a MODEL like the host's own


def test_at_the_real_size_the_config_is_the_stock_one(comfy):
    import comfy.model_detection
    import comfy.supported_models

    from visual_insertion_pack.nodes.host import pix2pix_unets, unet_models, unet_settings

    settings = unet_settings.settings_of(pix2pix_unets.SD15)
    stock = comfy.supported_models.SD15_instructpix2pix
    made = unet_models.model_config(settings, comfy.latent_formats.SD15, stock)
    assert type(made) is stock
    meta = {name: torch.empty(shape, device="meta") for name, shape in settings.weight_shapes().items()}
    detected = comfy.model_detection.model_config_from_unet(meta, "")
    assert type(detected) is type(made)
    ours = {name: made.unet_config.get(name) for name in detected.unet_config if name != "use_checkpoint"}
    assert ours == {name: detected.unet_config[name] for name in ours}


def test_stock_nodes_take_it(load, models, state, comfy):
    save_file(state, models / "diffusion_models" / FILE)
    model = load()
    (changed,) = comfy("ModelSamplingDiscrete", model=model, sampling="v_prediction", zsnr=False)
    assert "V_PREDICTION" in str(type(changed.get_model_object("model_sampling")).__mro__)
    (rescaled,) = comfy("RescaleCFG", model=model, multiplier=0.7)
    assert rescaled.model is model.model


def test_the_host_can_load_it_again(load, models, state, theirs):
    save_file(state, make_folder(models / "diffusers" / FOLDER, "v_prediction") / f"{STEM}.safetensors")
    save_file(state, models / "diffusion_models" / FILE)
    for name in (FOLDER, FILE):
        model = load(name)
        factory, arguments = model.cached_patcher_init
        again = factory(*arguments, disable_dynamic=True)
        assert type(again).__name__ == "ModelPatcher" and again.model is not model.model
        assert again.model.model_type == model.model.model_type
        assert torch.equal(predict(again), predict(model))


def test_it_loads_where_the_host_pages_weights(load, models, state, theirs, comfy, monkeypatch):
    """With dynamic VRAM the host's layers have no weights before they are loaded."""
    import comfy.memory_management

    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    save_file(half(state), models / "diffusion_models" / FILE)
    assert relative(predict(load()), reference(theirs, half(state))) <= 1e-4


def test_the_playroom_models_load_there_too(comfy, monkeypatch):
    import comfy.memory_management as memory

    whole = comfy("PlayroomModels")
    monkeypatch.setattr(memory, "aimdo_enabled", True)
    paged = comfy("PlayroomModels")
    assert all(torch.equal(tensor, weights_of(whole[0])[name]) for name, tensor in weights_of(paged[0]).items())
    picture = torch.rand(1, 48, 48, 3)
    seen = [comfy("ObjectImageEncode", clip_vision=models[2], image=picture)[0] for models in (whole, paged)]
    assert torch.allclose(*(output["last_hidden_state"] for output in seen), atol=1e-5)


# patches


@pytest.fixture
def tuned(state):
    torch.manual_seed(7)
    return {n: t + 0.05 * torch.randn_like(t) if ".attn2." in n else t for n, t in state.items()}


@pytest.fixture
def patch(models, state, tuned, tmp_path):
    """patch(...options): what the command extracts, as a LoRA of the host."""

    def make(*options):
        save_file(state, tmp_path / "base.safetensors")
        save_file(tuned, tmp_path / "tuned.safetensors")
        words = ["--tuned", tmp_path / "tuned.safetensors", "--base", tmp_path / "base.safetensors"]
        output = models / "loras" / "patch.safetensors"
        assert main(["convert", "unet-patch", *map(str, [*words, output]), *options]) == 0
        return output.name

    return make


def with_lora(comfy, model, name, strength=1.0):
    return comfy("LoraLoader", model=model, clip=None, lora_name=name, strength_model=strength, strength_clip=0.0)[0]


def test_the_patch_on_the_base_is_the_tuned_model(load, models, state, tuned, theirs, patch, comfy, caplog):
    save_file(state, models / "diffusion_models" / FILE)
    save_file(tuned, models / "diffusion_models" / "tuned.safetensors")
    base = load()
    patched = predict(with_lora(comfy, base, patch("--dtype", "fp32")))
    wanted = predict(load("tuned.safetensors"))
    assert "not loaded" not in caplog.text.lower()
    assert relative(patched, wanted) <= 1e-5
    assert relative(predict(base), wanted) > 1e-2, "the patch would prove nothing"
    assert relative(patched, reference(theirs, tuned)) <= 1e-4


def test_the_strength_goes_between(load, models, state, tuned, theirs, patch, comfy):
    save_file(state, models / "diffusion_models" / FILE)
    between = {name: (state[name] + tuned[name]) / 2 for name in state}
    made = predict(with_lora(comfy, load(), patch("--dtype", "fp32"), strength=0.5))
    assert relative(made, reference(theirs, between)) <= 1e-4


def test_16_bit_and_a_full_rank_are_near(load, models, state, tuned, theirs, patch, comfy):
    save_file(state, models / "diffusion_models" / FILE)
    wanted = reference(theirs, tuned)
    errors = {}
    for options in (("--dtype", "fp16"), ("--dtype", "fp32", "--rank", "64"), ("--rank", "2")):
        errors[options] = relative(predict(with_lora(comfy, load(), patch(*options))), wanted)
    full_rank, low = errors["--dtype", "fp32", "--rank", "64"], errors["--rank", "2"]
    assert errors["--dtype", "fp16"] <= 1e-3 and full_rank <= 1e-4 < low


def test_the_patch_fits_16_bit_weights(load, models, state, tuned, theirs, patch, comfy):
    save_file(half(state), models / "diffusion_models" / FILE)
    made = predict(with_lora(comfy, load(), patch()))
    assert relative(made, reference(theirs, half(tuned))) <= 2e-3


def test_what_the_host_merged_and_saved_loads_as_the_merge(comfy, models, state):
    """ModelMergeSimple and ModelSave on two of our models, and the loader on what they wrote."""
    for name, scale in (("one", 1.0), ("other", 3.0)):
        tensors = {key: tensor * scale for key, tensor in state.items()}
        save_file(tensors, make_folder(models / "diffusers" / name) / f"{STEM}.safetensors")
    one, other = (comfy("Pix2PixUNetLoader", name=name)[0] for name in ("one", "other"))
    before = {name: 1.0 * tensor.float() for name, tensor in weights_of(one).items()}  # a copy: saving patches in place
    merged = comfy("ModelMergeSimple", model1=one, model2=other, ratio=0.5)[0]
    comfy.nodes.NODE_CLASS_MAPPINGS["ModelSave"]().save(model=merged, filename_prefix="merged")
    saved = next((comfy.base / "output").glob("merged*.safetensors"))
    shutil.copy(saved, make_folder(models / "diffusers" / "merge") / f"{STEM}.safetensors")
    again = weights_of(comfy("Pix2PixUNetLoader", name="merge")[0])
    assert again.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.allclose(again[name].float(), 2 * tensor, atol=1e-4, rtol=5e-3), name
