"""Our nodes in a real server: what is re-run, progress and previews, cancel, and errors that a user sees."""

import io
import struct
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
from PIL import Image

from visual_insertion_pack.devtools import host
from visual_insertion_pack.pipelines.playroom.world.dataset import HELD_OUT_SEED
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet

MODELS, SCENE, OBJECT, ENCODE, OPTIMIZE = "models", "scene", "object", "encode", "optimize"
GUIDE, SAMPLE, DECODE, SAVE = "guide", "sample", "decode", "save"

direct = build_opener(ProxyHandler({})).open


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture(scope="module")
def pictures(server):
    """Names of an uploaded scene and object."""
    triplet = make_triplet(HELD_OUT_SEED, views=1)

    def upload(name, picture):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return server.upload(name, buffer.getvalue())

    return {SCENE: upload("cache_scene.png", triplet.scene), OBJECT: upload("cache_object.png", triplet.objects[0])}


def graph(pictures, seed=0, steps=2, object_scale=3.0, prefix="cache", **changes):
    """Insertion as the basic workflow does it; `changes` replace whole nodes."""
    common = dict(
        **dict(model=[MODELS, 0], vae=[MODELS, 1], scene=[SCENE, 0]),
        **dict(positive=[OPTIMIZE, 0], negative=[OPTIMIZE, 1], guidance=[GUIDE, 0]),
    )
    return {
        MODELS: node("PlayroomModels"),
        SCENE: node("LoadImage", image=pictures[SCENE]),
        OBJECT: node("LoadImage", image=pictures[OBJECT]),
        ENCODE: node("ObjectImageEncode", clip_vision=[MODELS, 2], image=[OBJECT, 0]),
        OPTIMIZE: node("EmbeddingOptimizer", embedding_optimizer=[MODELS, 3], clip_vision_output=[ENCODE, 0]),
        GUIDE: node("GuidanceControl", object_scale=object_scale, scene_scale=1.2),
        SAMPLE: node(
            "ImageConditionedPix2PixSampler",
            **common,
            **dict(seed=seed, steps=steps, sampler_name="euler", scheduler="normal", denoise=1.0),
        ),
        DECODE: node("SceneDecode", latent=[SAMPLE, 0], vae=[MODELS, 1], scene=[SCENE, 0]),
        SAVE: node("SaveImage", images=[DECODE, 0], filename_prefix=prefix),
    } | changes


def with_guider(pictures, object_scale):
    """The same through the guider and SamplerCustomAdvanced."""
    whole = graph(pictures, object_scale=object_scale)
    inputs = whole[SAMPLE]["inputs"]
    common = {name: inputs[name] for name in ("model", "vae", "scene", "positive", "negative", "guidance")}
    return whole | {
        "noise": node("RandomNoise", noise_seed=0),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=[MODELS, 0], scheduler="normal", steps=2, denoise=1.0),
        "guider": node("ImageConditionedPix2PixGuider", **common),
        SAMPLE: node(
            "SamplerCustomAdvanced",
            **dict(noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0]),
            **dict(sigmas=["sigmas", 0], latent_image=["guider", 1]),
        ),
    }


class Watch:
    """Collects the server's messages of a run."""

    def __init__(self, on_progress=None):
        self.events, self.on_progress = [], on_progress

    def __call__(self, event, data):
        self.events.append((event, data))
        if event == "progress" and self.on_progress:
            self.on_progress(data)

    def data(self, kind):
        return [data for event, data in self.events if event == kind]

    @property
    def ran(self):
        return [data["node"] for data in self.data("executing") if data["node"] is not None]

    @property
    def cached(self):
        return {name for data in self.data("execution_cached") for name in data["nodes"]}


# the cache


def test_another_object_scale_runs_nothing_before_the_guidance(server, pictures):
    server.run(graph(pictures, object_scale=3.0))
    watch = Watch()
    server.run(graph(pictures, object_scale=4.0), watch)
    assert watch.ran == [GUIDE, SAMPLE, DECODE, SAVE]
    assert watch.cached == {MODELS, SCENE, OBJECT, ENCODE, OPTIMIZE}


def test_another_object_scale_runs_nothing_before_the_guider(server, pictures):
    server.run(with_guider(pictures, object_scale=3.0))
    watch = Watch()
    server.run(with_guider(pictures, object_scale=4.0), watch)
    assert watch.ran == [GUIDE, "guider", SAMPLE, DECODE, SAVE]


def test_another_seed_runs_only_the_sampler(server, pictures):
    server.run(graph(pictures, seed=1))
    watch = Watch()
    server.run(graph(pictures, seed=2), watch)
    assert watch.ran == [SAMPLE, DECODE, SAVE]


def test_the_same_graph_again_runs_nothing(server, pictures):
    server.run(graph(pictures, seed=3))
    watch = Watch()
    server.run(graph(pictures, seed=3), watch)
    assert watch.ran == []
    assert set(graph(pictures)) <= watch.cached


# progress and previews


def test_steps_are_reported_and_seen(server, pictures):
    watch = Watch()
    entry = server.run(graph(pictures, seed=10, steps=5), watch)
    steps = [data["value"] for data in watch.data("progress") if data["node"] == SAMPLE]
    assert steps == sorted(steps) and steps[-1] == 5
    assert all(data["max"] == 5 for data in watch.data("progress") if data["node"] == SAMPLE)
    previews = watch.data("preview")
    assert previews
    for message in previews:
        assert struct.unpack(">I", message[:4]) == (1,), "a preview picture"
        picture = Image.open(io.BytesIO(message[8:]))
        assert picture.width == picture.height
    assert entry["outputs"][SAMPLE]["unet_evaluations"] == [15]


def test_the_schedule_of_a_run_is_reported_and_drawn_at_each_request(server, pictures):
    entry = server.run(graph(pictures, seed=11, object_scale=5.0))
    (settings,) = entry["outputs"][GUIDE]["schedule"]
    assert settings["object_scale"] == 5.0 and settings["scene_end"] == 1.0

    def drawn(**changes):
        with direct(f"{server.url}/visual_insertion/schedule.png?{urlencode(settings | changes)}") as reply:
            return Image.open(io.BytesIO(reply.read()))

    assert drawn().size == (640, 300)
    assert drawn().tobytes() != drawn(object_end=0.5).tobytes()
    with pytest.raises(HTTPError) as refused:
        drawn(object_start=0.8, object_end=0.2)
    assert refused.value.code == 400 and b"interval must satisfy" in refused.value.read()


def test_what_nodes_show_is_sent_again_for_a_cached_result(server, pictures):
    """In hosts that do so for nodes which are no output; older ones show it when it is made."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 60, 30)).save(buffer, "PNG")  # of no other test: its encoding is not cached yet
    own = {**pictures, OBJECT: server.upload("shown_again.png", buffer.getvalue())}
    first, again = (server.run(graph(own, seed=12))["outputs"] for _ in range(2))
    assert first[SAMPLE]["text"] == ["6 UNet evaluations"]
    (seen,) = first[ENCODE]["images"]
    assert Image.open(io.BytesIO(server.view(seen))).size == (64, 64)
    sends_again = server.object_info("GuidanceControl").get("has_intermediate_output", False)
    for node_with_more_to_show in (SAMPLE, GUIDE, ENCODE):
        assert again.get(node_with_more_to_show) == (first[node_with_more_to_show] if sends_again else None)


def test_a_patch_that_cannot_apply_is_named_on_the_node(server, pictures):
    patched = graph(pictures, seed=13)
    patched["patch"] = node("RescaleCFG", model=[MODELS, 0], multiplier=0.7)
    patched[SAMPLE]["inputs"]["model"] = ["patch", 0]
    evaluations, remark = server.run(patched)["outputs"][SAMPLE]["text"]
    assert "sampler_cfg_function" in remark and "does nothing" in remark


@pytest.mark.parametrize(
    ("background", "remark"),
    [("auto", "it was turned round"), ("mean", "the background is taken for the object"), ("keep", "does nothing")],
)
def test_the_mask_of_a_cut_out_is_remarked_on(server, pictures, background, remark):
    cut_out = Image.new("RGBA", (64, 64))
    cut_out.paste((200, 30, 40, 255), (20, 16, 44, 50))
    buffer = io.BytesIO()
    cut_out.save(buffer, "PNG")
    whole = graph({**pictures, OBJECT: server.upload("cut_out.png", buffer.getvalue())}, seed=14, steps=1)
    whole[ENCODE]["inputs"] |= {"mask": [OBJECT, 1], "background": background}
    (sentence,) = server.run(whole)["outputs"][ENCODE]["text"]
    assert remark in sentence and "auto" in sentence


# cancel


def test_a_run_can_be_cancelled_and_the_next_one_works(server, pictures):
    cancelled = []

    def cancel(data):
        if data["value"] >= 2 and not cancelled:
            cancelled.append(data["value"])
            server.post("/interrupt")

    watch = Watch(cancel)
    with pytest.raises(host.RunFailed) as caught:
        server.run(graph(pictures, seed=20, steps=1000), watch)
    assert caught.value.event == "execution_interrupted"
    assert caught.value.data["node_id"] == SAMPLE
    assert max(data["value"] for data in watch.data("progress")) < 1000

    watch = Watch()
    entry = server.run(graph(pictures, seed=20), watch)
    assert watch.ran == [SAMPLE, DECODE, SAVE], "what was done before the cancel is still there"
    assert entry["outputs"][SAMPLE]["unet_evaluations"] == [6]


def test_a_cancelled_run_leaves_no_trace_in_the_next(server, pictures):
    """The same picture before a cancel and, sampled anew, after it."""

    def picture(**settings):
        guide = node("GuidanceControl", object_scale=3.0, scene_scale=1.2, **settings)
        watch = Watch()
        entry = server.run(graph(pictures, seed=21, guide=guide), watch)
        assert SAMPLE in watch.ran
        return Image.open(io.BytesIO(server.view(entry["outputs"][SAVE]["images"][0]))).tobytes()

    before = picture()
    with pytest.raises(RuntimeError, match="interrupted"):
        server.run(graph(pictures, seed=22, steps=1000), Watch(lambda data: server.post("/interrupt")))
    assert picture(object_start=0.0) == before, "the default said aloud: not in the cache, but the same"


# errors


def test_an_error_names_its_node_and_the_next_run_works(server, pictures):
    reversed_interval = node("GuidanceControl", object_scale=3.0, scene_scale=1.2, object_start=0.8, object_end=0.2)
    with pytest.raises(host.RunFailed, match=r"GuidanceControl \(node guide\): The object interval must"):
        server.run(graph(pictures, guide=reversed_interval))
    assert server.run(graph(pictures, seed=30))["outputs"][SAVE]["images"]


def test_a_missing_optimizer_is_refused_before_anything_runs(server, pictures):
    loader = node("EmbeddingOptimizerLoader", name="gone.safetensors")
    changed = graph(pictures, loader=loader)
    changed[OPTIMIZE]["inputs"]["embedding_optimizer"] = ["loader", 0]
    with pytest.raises(host.Refused, match=r"There is no embedding optimizer 'gone.safetensors'.*models"):
        server.queue(changed)


def test_a_scale_out_of_range_is_refused(server, pictures):
    with pytest.raises(host.Refused, match="object_scale"):
        server.queue(graph(pictures, object_scale=31.0))


def test_an_output_folder_that_cannot_be_written_is_named_and_costs_nothing_else(server, pictures):
    (server.base / "output" / "blocked").write_text("a file where a folder should be")
    with pytest.raises(host.RunFailed, match=r"SaveImage \(node save\).*blocked"):
        server.run(graph(pictures, seed=40, prefix="blocked/picture"))
    watch = Watch()
    server.run(graph(pictures, seed=40, prefix="free"), watch)
    assert watch.ran == [SAVE], "the picture was kept, only saving is done again"
