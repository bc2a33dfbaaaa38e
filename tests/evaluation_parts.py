"""What the tests of evaluation share: small random networks in their published layouts, and a benchmark of squares."""

import json

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from visual_insertion_pack.pipelines.evaluation import cases
from visual_insertion_pack.pipelines.pictures.masks import array_box

SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
DETECTOR_LAYERS = dict(layers=2, ffn_dim=32, attention_heads=2)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "ba</w>", "<|startoftext|>", "<|endoftext|>"]


def save_clip(folder, side, patch):
    """A small CLIP with its tokenizer."""
    start, end = len(WORDS) - 2, len(WORDS) - 1
    ends = dict(vocab_size=len(WORDS), bos_token_id=start, eos_token_id=end, pad_token_id=end)
    text = CLIPTextConfig(**SMALL, **ends, max_position_embeddings=16, projection_dim=24)
    vision = CLIPVisionConfig(**SMALL, image_size=side, patch_size=patch, projection_dim=24)
    CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    ).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(WORDS)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nb a</w>\n", encoding="utf-8")


def save_hub(folder):
    """AlexNet as torch hub keeps it: random where LPIPS looks, nothing behind that."""
    import torchvision

    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in torchvision.models.alexnet().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator) * 0.05
        if name.startswith("features")
        else torch.zeros(1).expand(shape)
        for name, shape in shapes.items()
    }
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(state, folder / "checkpoints" / "alexnet-owt-7be5be79.pth")


def save_networks(folder):
    """Every backbone but DreamSim: {name: folder}."""
    torch.manual_seed(0)
    folders = {name: folder / name for name in ("clip_b32", "clip_l336", "dino", "dinov2", "lpips")}
    save_clip(folders["clip_b32"], 224, 32)
    save_clip(folders["clip_l336"], 112, 14)
    ViTModel(ViTConfig(**SMALL, image_size=224, patch_size=16), add_pooling_layer=False).save_pretrained(
        folders["dino"]
    )
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    Dinov2Model(Dinov2Config(**sizes, image_size=518, patch_size=14)).save_pretrained(folders["dinov2"])
    save_hub(folders["lpips"])
    return folders


def picture(seed, size=(96, 80), smooth=2.0):
    """Soft random colours, RGB at (width, height)."""
    noise = np.random.default_rng(seed).standard_normal((size[1], size[0], 3))
    soft = ndimage.gaussian_filter(noise, (smooth, smooth, 0))
    return Image.fromarray(((soft / np.abs(soft).max() + 1) * 127.5).astype(np.uint8))


def squares(count=6, caption="a b ba"):
    """Scenes with a disc of another texture; the object picture is the disc out of the target, as in PIPE."""

    def read(index):
        scene = picture(index, smooth=6.0)
        rows, columns = np.mgrid[:80, :96]
        mask = (rows - 30 - 3 * index) ** 2 + (columns - 40 - 2 * index) ** 2 < 15**2
        pixels = np.array(scene)
        pixels[mask] = np.array(picture(100 + index, smooth=1.5))[mask]
        target = Image.fromarray(pixels)
        x0, y0, x1, y1 = box = array_box(mask)
        shape = mask[y0:y1, x0:x1]
        return cases.Case(f"disc{index}", scene, (target.crop(box),), target, mask, (shape,), "add a disc", caption)

    return cases.Benchmark("discs", "Discs.", tuple(f"disc{index}" for index in range(count)), read)


def save_grounding_dino(folder):
    """A small Grounding-DINO as its publishers lay one out: network, preprocessor and BERT's tokenizer."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        SwinConfig,
    )

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "red", "ball", "square"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    sizes = dict(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_indices=[2, 3, 4])
    layers = {f"{half}coder_{name}": value for half in ("en", "de") for name, value in DETECTOR_LAYERS.items()}
    torch.manual_seed(0)
    network = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=SwinConfig(image_size=64, patch_size=4, **sizes),
            text_config=BertConfig(vocab_size=len(words), **SMALL),
            d_model=32,
            num_queries=20,
            max_text_len=16,
            **layers,
        )
    )
    network.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    tables = {name: table for name, table in network.named_buffers() if name.endswith("relative_position_index")}
    assert tables and not any(table.is_floating_point() for table in tables.values())
    save_file({**weights, **tables}, folder / "model.safetensors", {"format": "pt"})  # as transformers 4 did
    GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    preprocessor = folder / "preprocessor_config.json"
    facts = json.loads(preprocessor.read_text("utf-8")) | {"processor_class": "GroundingDinoProcessor"}
    preprocessor.write_text(json.dumps(facts), encoding="utf-8")
    return folder


def save_sets(folder, entries, size=(96, 80)):
    """Add-it's sets, a soft random scene for each entry."""
    (folder / "images").mkdir(parents=True)
    (folder / "sets.json").write_text(json.dumps(entries), encoding="utf-8")
    for number, entry in enumerate(entries):
        picture(number, size, smooth=6.0).save(folder / "images" / f"{entry.get('index', number)}.png")
    return folder


def prompt_set(**changes):
    """An entry of Add-it's sets in the letters that the small CLIP reads."""
    told = dict(src_prompt="a b", tgt_prompt="a b ba", subject_token="ba", instruction="Add ba to a b")
    return {**told, **changes}
