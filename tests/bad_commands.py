"""What the commands refuse: one list for the tests and for docs/bad_input.md."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "playroom_models"
TOY_UNET = TOYS / "unet" / "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class BadCommand:
    command: str
    given: str
    said: str  # begins the last line; FILE and FOLDER stand for `path`
    arguments: Callable[[Path], list[object]]  # made in a folder
    path: str = ""
    code: int = 1  # 2 is for what is missing or wrong use


def picture(path: Path, size=(64, 64)) -> Path:
    Image.new("RGB", size, (90, 120, 200)).save(path)
    return path


def written(path: Path, content: bytes = b"mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def insert(*more: object, scene: bytes | None = None, output="result.png"):
    def arguments(folder: Path) -> list[object]:
        path = folder / "scene.png"
        picture(path) if scene is None else written(path, scene)
        pictures = ["--scene", path, "--object", picture(folder / "object.png"), "--output", folder / output]
        return ["insert", *pictures, "--steps", 1, *more]

    return arguments


def pairs(content: str, output: Path | None = None):
    def arguments(folder: Path) -> list[object]:
        listed = written(folder / "pairs.csv", content.encode())
        return ["insert", "--pairs", listed, "--output", output or folder / "made", "--steps", 1, "--device", "cpu"]

    return arguments


def add(*more: object, prompt="a room with a red ball", subject="red ball", output="result.png"):
    def arguments(folder: Path) -> list[object]:
        words = ["--prompt", prompt, "--subject", subject, "--steps", 1, "--device", "cpu"]
        return ["add", "--scene", picture(folder / "scene.png"), "--output", folder / output, *words, *more]

    return arguments


def paint(*more: object, output="result.png"):
    def arguments(folder: Path) -> list[object]:
        pictures = ["--scene", picture(folder / "scene.png"), "--exemplar", picture(folder / "exemplar.png")]
        return ["paint", *pictures, "--output", folder / output, "--steps", 1, *more]

    return arguments


def learn(*more: object, output="toy.safetensors"):
    def arguments(folder: Path) -> list[object]:
        (folder / "toy").mkdir()
        return ["learn", folder / "toy", "--output", folder / output, *more]

    return arguments


def insert_over_the_mask(folder: Path) -> list[object]:
    return insert("--mask", picture(folder / "mask.png"), output="mask.png")(folder)


def unet_patch_over_the_base(folder: Path) -> list[object]:
    base = folder / "unet" / "diffusion_pytorch_model.safetensors"
    for name in (base.name, "config.json"):
        written(base.parent / name, (TOYS / "unet" / name).read_bytes())
    return ["convert", "unet-patch", "--tuned", TOYS, "--base", base.parent, base]


def train(*changes: str, before: Callable[[Path], object] = lambda folder: None):
    def arguments(folder: Path) -> list[object]:
        before(folder)
        places = [f"folder={folder / 'run'}", f"models.base={TOYS}", f"data.train={folder / 'data'}"]
        return ["train", "playroom", "--set", *places, "data.validation=null", *changes]

    return arguments


def evaluate(*more: object, before: Callable[[Path], object] = lambda folder: None):
    def arguments(folder: Path) -> list[object]:
        before(folder)
        what = ["--benchmark", "playroom", "--limit", 1, "--method", "unchanged", "--device", "cpu"]
        return ["evaluate", *what, "--output", folder / "home", *more]

    return arguments


def toys(folder: Path) -> list[object]:
    written(folder / "data" / "train" / "metadata.jsonl")
    return ["toy-triplets", folder / "data", "--count", 1]


def results_in_the_way(folder: Path) -> list[object]:
    inside = picture(written(folder / "home" / "pictures" / "mine" / "900001000.png")).parent
    return [*evaluate()(folder), "--results", f"mine={inside}"]


def manifest(change: str) -> Callable[[Path], list[object]]:
    def arguments(folder: Path) -> list[object]:
        text = (ROOT / "weights_manifest.json").read_text("utf-8")
        written(folder / "manifest.json", text.replace('"folder": "diffusion_models"', change, 1).encode())
        return ["weights", "list", "--manifest", folder / "manifest.json"]

    return arguments


def converted(content: bytes) -> Callable[[Path], list[object]]:
    return lambda folder: ["convert", "optimizer", written(folder / "emb_opt.pt", content), folder / "o.safetensors"]


def published(made: Callable[[Path], Path]):
    def arguments(folder: Path) -> list[object]:
        (folder / "cup").mkdir()
        picture(folder / "cup" / "0.png")
        words = ["--base", TOYS, "--pictures", folder / "cup"]
        return ["convert", "learned-object", made(folder), folder / "cup.safetensors", *words]

    return arguments


def layers(*more: object, result=(64, 64), output="layers.ora"):
    def arguments(folder: Path) -> list[object]:
        pictures = [picture(folder / "scene.png"), picture(folder / "result.png", result)]
        return ["layers", *pictures, "--output", folder / output, *more]

    return arguments


def layers_with_masks(folder: Path) -> list[object]:
    white = folder / "white.png"
    Image.new("L", (64, 64), 255).save(white)
    return layers("--object-mask", white, "--effect-mask", white, result=(48, 48))(folder)


def restore(*more: object, edited: bytes | None = None, output="result.png", **paths: str):
    """`paths` are further outputs in the folder, by option."""

    def arguments(folder: Path) -> list[object]:
        path = folder / "edited.png"
        picture(path) if edited is None else written(path, edited)
        pictures = ["--scene", picture(folder / "scene.png"), "--edited", path, "--output", folder / output]
        outputs = [word for option, name in paths.items() for word in (f"--{option}", folder / name)]
        return ["restore", *pictures, *outputs, *more]

    return arguments


def restore_with_a_small_mask(folder: Path) -> list[object]:
    white = folder / "white.png"
    Image.new("L", (32, 32), 255).save(white)
    return restore("--mask", white)(folder)


PAGE = b"<html>404</html>"
OVER = "FILE is a file that is read, and would be written over; name another one."
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"

REFUSED = [
    BadCommand("add", "a subject that is not in the prompt",
               "“red mug” is not in the prompt “a room with a red ball”.", add(subject="red mug")),
    BadCommand("add", "a subject that the prompt says twice", "“ball” is in the prompt 2 times",
               add(prompt="a red ball and a blue ball", subject="ball")),
    BadCommand("add", "fewer subjects than prompts", "2 --prompt need as many --subject; got 1.",
               add("--prompt", "a room")),
    BadCommand("add", "a word that the toy model does not know",
               "The playroom's model does not know the word “astronaut”",
               add(prompt="a room with an astronaut", subject="astronaut")),
    BadCommand("add", "a scene and no prompt", "--prompt TEXT and --subject TEXT are needed",
               lambda folder: ["add", "--scene", picture(folder / "scene.png"), "--output", folder / "result.png"],
               code=2),
    BadCommand("add", "a blend before the start", "blend (0.3) must come after start (0.5).",
               add("--start", 0.5, "--blend", 0.3)),
    BadCommand("add", "a gamma of 0", "gamma must be above 0 and at most 10; got 0.0.", add("--gamma", 0)),
    BadCommand("add", "a folder without a transformer",
               "FILE is missing. Needed is the folder of a FluxTransformer2DModel",
               lambda folder: add("--models", folder)(folder), "transformer/config.json", code=2),
    BadCommand("add", "the scene as the output", OVER, add(output="scene.png"), "scene.png"),
    BadCommand("insert", "a web page as the scene", "FILE is not a readable picture: it is none of PNG, JPEG,",
               insert(scene=PAGE), "scene.png"),
    BadCommand("insert", "a PostScript file as the scene (no interpreter is started)",
               "FILE is not a readable picture: it is none of PNG, JPEG,", insert(scene=POSTSCRIPT), "scene.png"),
    BadCommand("insert", "an empty file as the scene", "FILE is not a readable picture: it is empty",
               insert(scene=b""), "scene.png"),
    BadCommand("insert", "an output in a format that cannot be written well", "FILE names no picture format",
               insert(output="result.psd"), "result.psd"),
    BadCommand("insert", "the scene as the output", OVER, insert(output="scene.png"), "scene.png"),
    BadCommand("insert", "the mask as the output", OVER, insert_over_the_mask, "mask.png"),
    BadCommand("insert", "a list and a scene", "--pairs names what many pictures are made of: leave out --scene.",
               lambda folder: [*insert()(folder), "--pairs", folder / "pairs.csv"], code=2),
    BadCommand("insert", "a list with a column that is not known", "FILE has a column 'prompt' in its first line.",
               pairs("scene,object,prompt\na.png,x.png,y\n"), "pairs.csv"),
    BadCommand("insert", "a list with a name that leads out of the folder",
               "FILE, line 2 is no pair: '../y' leads out of the output folder",
               pairs("scene,object,name\na.png,x.png,../y\n"), "pairs.csv"),
    BadCommand("insert", "a list with one pair twice", "FILE, line 3 would make the same file as line 2: a__x.png.",
               pairs("scene,object\na.png,x.png\na.png,x.png\n"), "pairs.csv"),
    BadCommand("insert", "a list, and an output folder of another origin",
               "FOLDER holds holiday.png, which would be written over and is not of an earlier run over many pairs.",
               lambda folder: pairs("scene,object\na.png,x.png\n", picture(folder / "holiday.png").parent)(folder)),
    BadCommand("insert", "a list that is no Parquet file", "FILE is not a readable parquet file",
               lambda folder: ["insert", "--pairs", written(folder / "pairs.parquet"), "--output", folder / "made"],
               "pairs.parquet"),
    BadCommand("insert", "Parquet without pictures for the scenes", "FILE is not a readable parquet file",
               lambda folder: [*pairs("scene,object\na.png,x.png\n")(folder), "--scenes",
                               written(folder / "scenes.parquet")], "scenes.parquet"),
    BadCommand("insert", "a server that is no address", "--servers needs addresses such as http://gpu1:8188; got gpu1.",
               lambda folder: ["insert", "--pairs", folder / "pairs.csv", "--output", folder / "made",
                               "--servers", "gpu1"], code=2),
    BadCommand("insert", "servers and workers", "--servers have models and settings of their own: leave out --workers.",
               lambda folder: ["insert", "--pairs", folder / "pairs.csv", "--output", folder / "made",
                               "--servers", "http://gpu1:8188", "--workers", 2], code=2),
    BadCommand("insert", "a workflow of the menu instead of its API format", "FILE is no workflow in API format",
               lambda folder: ["insert", "--pairs", written(folder / "pairs.csv", b"scene,object\na,x\n"), "--output",
                               folder / "made", "--servers", "http://gpu1:8188", "--workflow",
                               written(folder / "own.json", b'{"nodes": []}')], "own.json"),
    BadCommand("paint", "the exemplar as the output", OVER,
               paint("--box", 8, 8, 32, 32, output="exemplar.png"), "exemplar.png"),
    BadCommand("paint", "neither an exemplar nor a learned object", "Nothing says what to paint: give an --exemplar",
               lambda folder: ["paint", "--scene", picture(folder / "scene.png"), "--box", 8, 8, 32, 32, "--output",
                               folder / "result.png"]),
    BadCommand("paint", "a picture as a learned object", "FILE is not a readable safetensors file",
               lambda folder: [*paint("--box", 8, 8, 32, 32)(folder), "--learned", picture(folder / "toy.png")],
               "toy.png"),
    BadCommand("learn", "a folder without pictures", "FOLDER has no picture of the object.",
               learn(), "toy", code=2),
    BadCommand("learn", "an output that is no safetensors file", "FILE must end in .safetensors",
               learn(output="toy.ckpt"), "toy.ckpt"),
    BadCommand("layers", "the scene as the output", OVER,
               lambda folder: ["layers", picture(folder / "a.png").rename(folder / "scene.ora"),
                               picture(folder / "result.png"), "--output", folder / "scene.ora"], "scene.ora"),
    BadCommand("layers", "an output that is no OpenRaster file", "FILE names no OpenRaster file; end its name in .ora.",
               layers(output="layers.psd"), "layers.psd"),
    BadCommand("layers", "an output folder that does not exist", "The folder of FILE does not exist.",
               layers(output="nowhere/layers.ora"), "nowhere/layers.ora", code=2),
    BadCommand("layers", "one mask of two", "Give --object-mask and --effect-mask, or neither",
               layers("--object-mask", "mask.png")),
    BadCommand("layers", "masks and a result of another size", "The restored picture is 48x48 px, the scene 64x64 px.",
               layers_with_masks),
    BadCommand("restore", "a web page as the edited picture",
               "FILE is not a readable picture: it is none of PNG, JPEG,", restore(edited=PAGE), "edited.png"),
    BadCommand("restore", "an edited picture that is not there", "FILE does not exist",
               lambda folder: [*restore()(folder), "--edited", folder / "gone.png"], "gone.png", code=2),
    BadCommand("restore", "an output in a format that cannot be written well", "FILE names no picture format",
               restore(output="result.psd"), "result.psd"),
    BadCommand("restore", "a layer in a format without transparency", "FILE would lose the layer's transparency",
               restore(layer="layer.jpg"), "layer.jpg"),
    BadCommand("restore", "a folder for the mask that does not exist", "The folder of FILE does not exist.",
               restore(effect="nowhere/effect.png"), "nowhere/effect.png", code=2),
    BadCommand("restore", "one name for two outputs",
               "Two of --output, --effect, --object and --layer name the same file", restore(object="result.png")),
    BadCommand("restore", "the edited picture as the output", OVER, restore(output="edited.png"), "edited.png"),
    BadCommand("restore", "a mask of another size", "The mask is 32x32 px, the scene 64x64 px.",
               restore_with_a_small_mask),
    BadCommand("restore", "a sensitivity of 0", "The sensitivity must be above 0; got 0.0.",
               restore("--sensitivity", 0)),
    BadCommand("restore", "a negative feather", "feather must be from 0 to 1024 px; got -1.", restore("--feather", -1)),
    BadCommand("restore", "a folder that holds no VAE", "FILE is missing. Needed is the folder of a AutoencoderKL",
               lambda folder: restore("--vae", folder / "vae")(folder), "vae/config.json", code=2),
    BadCommand("train", "another origin's model in the folder",
               "FOLDER holds embedding_optimizer.safetensors, which would be written over",
               train(before=lambda folder: written(folder / "run" / "embedding_optimizer.safetensors")), "run"),
    BadCommand("train", "an unknown precision", "FILE is not a usable configuration: 'run.precision' must be one of",
               train("run.precision=fp8"), "RECIPE"),
    BadCommand("train", "accumulate = 0", "FILE is not a usable configuration: 'run.accumulate' must be at least 1",
               train("run.accumulate=0"), "RECIPE"),
    BadCommand("train", "an entry that does not exist", "FILE is not a usable configuration: unknown entry 'optimzer'",
               train("optimzer.heads=4"), "RECIPE"),
    BadCommand("train", "an index that is no text", "FILE is no text in UTF-8",
               train(before=lambda folder: written(folder / "data" / "metadata.jsonl", b"\xff\xfe{}")),
               "data/metadata.jsonl"),
    BadCommand("train", "a line that is no triplet", "FILE, line 1 is not a triplet",
               train(before=lambda folder: written(folder / "data" / "metadata.jsonl", b'{"object_file_names": [5]}')),
               "data/metadata.jsonl"),
    BadCommand("toy-triplets", "a folder that holds another data set",
               "FOLDER holds metadata.jsonl, which would be written over", toys, "data/train"),
    BadCommand("evaluate", "an output folder with pictures of another origin",
               "FOLDER holds pictures, which would be written over and is not of an earlier evaluation",
               evaluate(before=lambda folder: written(folder / "home" / "pictures" / "holiday.png")), "home"),
    BadCommand("evaluate", "results that lie where the report's pictures go",
               "The results of mine lie in FOLDER", results_in_the_way, "home/pictures"),
    BadCommand("build-dataset", "a source that is no parquet file", "FILE is not a readable parquet file",
               lambda folder: ["build-dataset", written(folder / "rows.parquet"), folder / "out"], "rows.parquet"),
    BadCommand("weights", "a manifest that leads out of the models folder", "FILE",
               manifest('"folder": "../custom_nodes"'), "manifest.json", code=2),
    BadCommand("weights", "a manifest with a number for a folder", "FILE",
               manifest('"folder": 5'), "manifest.json", code=2),
    BadCommand("doctor", "a models folder that is none", "FOLDER is not a folder. Give ComfyUI's models folder.",
               lambda folder: ["doctor", "--models-dir", folder / "models"], "models", code=2),
    BadCommand("doctor", "a list of model folders that is none", "FILE is not a list of model folders",
               lambda folder: ["doctor", "--models-dir", folder, "--extra-model-paths",
                               written(folder / "paths.yaml", PAGE)], "paths.yaml", code=2),
    BadCommand("convert", "a web page under the optimizer's name", "FILE is not a readable safetensors file",
               converted(PAGE), "emb_opt.pt"),
    BadCommand("convert", "the file as the output", OVER,
               lambda folder: ["convert", "optimizer", written(folder / "o.safetensors"), folder / "o.safetensors"],
               "o.safetensors"),
    BadCommand("convert", "a web page as a published object", "FILE is not a readable safetensors file",
               published(lambda folder: written(folder / "delta_last.ckpt", PAGE)), "delta_last.ckpt"),
    BadCommand("convert", "a UNet as a published object", "FILE holds no cross-attention of a UNet",
               published(lambda folder: written(folder / "unet.safetensors", TOY_UNET.read_bytes())),
               "unet.safetensors"),
    BadCommand("convert", "a published object that is not there", "FILE does not exist",
               published(lambda folder: folder / "delta_last.ckpt"), "delta_last.ckpt", code=2),
    BadCommand("convert", "a published object without its pictures", "FOLDER has no picture of the object.",
               published(lambda folder: (folder / "cup" / "0.png").unlink() or folder / "delta_last.ckpt"), "cup",
               code=2),
    BadCommand("convert", "the base's own file as the output", OVER, unet_patch_over_the_base,
               "unet/diffusion_pytorch_model.safetensors"),
]  # fmt: skip
