"""A published object (delta_last.ckpt) with random weights, and what the published code makes of it, in plain torch.

Nothing of the pack's own encoder, of its names or of its change of attention is used here.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
SPREAD = (0.26862954, 0.26130258, 0.27577711)
PRIOR = "cond_stage_model.prior_encoder.prior_block.1"
SMALL = {  # blocks with attention, LDM -> diffusers, of `paint_by_example_parts.UNET`
    "input_blocks.1.1": "down_blocks.0.attentions.0",
    "input_blocks.3.1": "down_blocks.1.attentions.0",
    "middle_block.1": "mid_block.attentions.0",
    "output_blocks.2.1": "up_blocks.1.attentions.0",
    "output_blocks.3.1": "up_blocks.1.attentions.1",
    "output_blocks.4.1": "up_blocks.2.attentions.0",
    "output_blocks.5.1": "up_blocks.2.attentions.1",
}
SD15 = {
    **{f"input_blocks.{1 + 3 * i + j}.1": f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)},
    "middle_block.1": "mid_block.attentions.0",
    **{f"output_blocks.{3 * i + j}.1": f"up_blocks.{i}.attentions.{j}" for i in range(1, 4) for j in range(3)},
}
LEAVES = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias")


def attention_names(blocks):
    """Name in a published file -> name in diffusers' UNet."""
    end = "transformer_blocks.0.attn2"
    return {
        f"model.diffusion_model.{ldm}.{end}.{leaf}": f"{diffusers}.{end}.{leaf}"
        for ldm, diffusers in blocks.items()
        for leaf in LEAVES
    }


def published_state(unet, blocks, *, width=1024, context=768, tokens=257, depth=5, change=0.05, leaves=LEAVES, seed=5):
    """The tensors of a published file, learned on a UNet: of `leaves`, what is in the UNet plus noise."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=generator)

    def linear(name, rows, columns):
        return {f"{name}.weight": noise(rows, columns) / columns**0.5, f"{name}.bias": 0.1 * noise(rows)}

    def norm(name):
        return {f"{name}.weight": 1 + 0.1 * noise(width), f"{name}.bias": 0.1 * noise(width)}

    own = unet.state_dict()
    state = {}
    for published, name in attention_names(blocks).items():
        state[published] = own[name].clone()
        if name.endswith(leaves):
            state[published] += change * own[name].std() * noise(*own[name].shape)
    for block in range(depth):
        start = f"cond_stage_model.mapper.resblocks.{block}"
        state |= linear(f"{start}.attn.c_qkv", 3 * width, width) | linear(f"{start}.attn.c_proj", width, width)
        state |= norm(f"{start}.ln_1") | norm(f"{start}.ln_2")
        state |= linear(f"{start}.mlp.c_fc", 4 * width, width) | linear(f"{start}.mlp.c_proj", width, 4 * width)
    state |= norm("cond_stage_model.final_ln") | linear("proj_out", context, width)
    return state | linear(PRIOR, width, tokens * width)


def bilinear(picture, size):
    """uint8 [H,W,3] squashed to [size,size,3] as OpenCV's linear resize does: centres of pixels, no antialias."""
    for axis in (0, 1):
        length = picture.shape[axis]
        places = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, length - 1)
        share = (places - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        picture = (1 - share) * picture.take(below, axis) + share * picture.take(above, axis)
    return np.rint(picture)


@torch.no_grad()
def published_context(state, tower, pictures, boxes, reference, transposed=True):
    """The context [1,1+N,C] of a published file's tensors, as its inference makes it.

    `tower` is transformers' CLIPVisionModel, `pictures` uint8 [H,W,3] arrays, `boxes` four floats each, `reference` a
    picture of the tower's size. Not `transposed`: upright and normalised, which the published code does not do.
    """
    size = tower.config.image_size
    mean = torch.tensor(MEAN).view(3, 1, 1)
    spread = torch.tensor(SPREAD).view(3, 1, 1)
    crops = []
    for picture, box in zip(pictures, boxes, strict=True):
        x0, y0, x1, y1 = map(int, box)
        crops.append(bilinear(picture[y0:y1, x0:x1].astype(float), size))
    stack = torch.tensor(np.array(crops), dtype=torch.float32)  # [N,H,W,3]
    pixels = stack.transpose(1, 3) if transposed else (stack.permute(0, 3, 1, 2) / 255 - mean) / spread
    hidden = tower(pixel_values=pixels).last_hidden_state
    prior = hidden.reshape(len(hidden), -1) @ state[f"{PRIOR}.weight"].T + state[f"{PRIOR}.bias"]
    shown = (torch.tensor(np.array(reference), dtype=torch.float32).permute(2, 0, 1) / 255 - mean) / spread
    pooled = tower(pixel_values=shown[None]).pooler_output
    x = torch.cat([pooled[:, None], prior[None]], 1)
    width = x.shape[-1]

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, x):
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    depth = sum(name.endswith("ln_1.weight") for name in state)
    for block in range(depth):
        start = f"cond_stage_model.mapper.resblocks.{block}"
        q, k, v = linear(f"{start}.attn.c_qkv", norm(f"{start}.ln_1", x)).split(width, -1)
        weights = torch.softmax((q * width**-0.25) @ (k * width**-0.25).transpose(1, 2), -1)
        x = x + linear(f"{start}.attn.c_proj", weights @ v)
        inner = F.gelu(linear(f"{start}.mlp.c_fc", norm(f"{start}.ln_2", x)))
        x = x + linear(f"{start}.mlp.c_proj", inner)
    return linear("proj_out", norm("cond_stage_model.final_ln", x))


def set_weights(unet, state, blocks):
    """A diffusers UNet with a published file's weights set in the place of its own, as load_state_dict does it."""
    names = attention_names(blocks)
    own = unet.state_dict()
    with torch.no_grad():
        for published, name in names.items():
            own[name].copy_(state[published])
    return unet


@torch.no_grad()
def forward(unet, context, null, side):
    """What a UNet predicts [2,4,side,side] without the exemplar and with it; the null is repeated."""
    generator = torch.Generator().manual_seed(8)
    inputs = torch.randn(1, 9, side, side, generator=generator).expand(2, -1, -1, -1)
    contexts = torch.cat([null.expand(1, context.shape[1], -1), context])
    return unet(inputs, torch.tensor([501]), encoder_hidden_states=contexts).sample


def write_pictures(folder, sizes, side):
    """Random pictures with boxes between pixels, as data/ and bbox/ of InsertSet, and a test.jpg of `side` px, as PNG.

    (folder of the pictures, its pictures as arrays, boxes, path of the reference, its picture).
    """
    generator = np.random.default_rng(2)
    pictures = []
    boxes = []
    for name in ("data", "bbox"):
        (folder / name).mkdir(parents=True)
    for number, (width, height) in enumerate(sizes):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        box = (0.1 * width + 0.7, 0.15 * height + 0.4, 0.8 * width + 0.6, 0.9 * height + 0.9)
        picture.save(folder / "data" / f"{number}.png")
        (folder / "bbox" / f"{number}.txt").write_text(" ".join(f"{side:.2f}" for side in box) + "\n")
        pictures.append(np.array(picture))
        boxes.append(tuple(float(f"{side:.2f}") for side in box))
    reference = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((side, side))
    reference.save(folder / "test.png")
    return folder / "data", pictures, boxes, folder / "test.png", reference
