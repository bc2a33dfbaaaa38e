"""A polished decoder as a file of its own, and its way into the VAE that ships.

    python devtools/pack.py pipelines.playroom.visual_insertion.decoder_file decoder.safetensors

puts the decoder's tensors in the place of those in playroom_models/vae, and says so in playroom.json and on the card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...weights.pretrained import load_model
from ...weights.reading import describe_misfit, fingerprint, read_weights, shapes_of
from ...weights.writing import save_tensors
from ...whole_files import write_text

WEIGHTS = "diffusion_pytorch_model.safetensors"
TRAINED = ("decoder.", "post_quant_conv.")  # start the names of a decoder's tensors
ENCODER = "encoder"  # in the metadata: the fingerprint of the encoder whose latents it reads
CARD_ROW = "| decoder, polished |"  # starts the card's row of the last polish
ROW_BEFORE = "| decoder |"
CARD_STEP = "5. **Polish**: the decoder alone, against features and a critic near edges, on the UNet's latents too."
STEP_BEFORE = "4. **Decoder**: "


def encoder_fingerprint(vae: AutoencoderKL) -> str:
    """Twelve hex digits of what makes the latents; half and full precision of a shipped file have the same."""
    parts = (vae.encoder, cast(nn.Module, vae.quant_conv))
    return fingerprint(part.float() for part in parts)


def save_decoder(vae: AutoencoderKL, path: Path, facts: Mapping[str, str]) -> None:
    """Write the decoder's tensors in half precision, with the facts of its polish and which encoder it belongs to."""
    tensors = {name: tensor.half() for name, tensor in vae.state_dict().items() if name.startswith(TRAINED)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, {**facts, ENCODER: encoder_fingerprint(vae)})


def load_decoder(path: Path, vae: AutoencoderKL) -> dict[str, str]:
    """Put a saved decoder into its VAE and return its facts.

    Raises FileNotFoundError, or ValueError for a file that is no decoder, or that reads another encoder's latents.
    """
    tensors, facts = read_weights(path)
    expected = {name: shape for name, shape in shapes_of(vae.state_dict()).items() if name.startswith(TRAINED)}
    if misfit := describe_misfit(expected, shapes_of(tensors)):
        raise ValueError(f"{path} is no decoder of the playroom's VAE: {misfit}.")
    if facts.get(ENCODER) != encoder_fingerprint(vae):
        raise ValueError(f"{path} was polished on the latents of another encoder. Polish this VAE's decoder anew.")
    vae.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    return facts


def merged(stored: Mapping[str, Tensor], decoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's tensors with a decoder's in their place, in the precision that the VAE has."""
    return {name: decoder[name].to(tensor) if name in decoder else tensor for name, tensor in stored.items()}


def card_row(facts: Mapping[str, str]) -> str:
    """The polish as a row of the card's table: stage, steps, triplets, seconds."""
    steps, triplets, seconds = (f"{round(float(facts[name])):,}" for name in ("steps", "triplets", "seconds"))
    return f"{CARD_ROW} {steps} | {triplets}, {facts['drawn']} drawn | {seconds}, on one {facts['device']} |"


def on_card(card: str, facts: Mapping[str, str]) -> str:
    """The card with the row and the step of this polish, below the decoder's, in the place of an earlier one's.

    Raises ValueError where it has no row or step of the decoder.
    """
    lines = [line for line in card.splitlines() if not line.startswith((CARD_ROW, CARD_STEP))]
    for before, text in ((ROW_BEFORE, card_row(facts)), (STEP_BEFORE, CARD_STEP)):
        above = next((number for number, line in enumerate(lines) if line.startswith(before)), None)
        if above is None:
            raise ValueError(f"The card has no line that starts with {before!r}, below which the polish belongs.")
        lines.insert(above + 1, text)
    return "\n".join(lines) + "\n"


def merge(decoder_file: Path, models: Path) -> dict[str, str]:
    """Put a decoder's file into the models' folder: VAE, playroom.json, card. Returns its facts."""
    facts = load_decoder(decoder_file, load_model(AutoencoderKL, models / "vae"))
    card = on_card((models / "README.md").read_text(encoding="utf-8"), facts)
    notes = json.loads((models / "playroom.json").read_text(encoding="utf-8"))
    notes["polish"] = dict(sorted(facts.items()))
    stored, metadata = read_weights(models / "vae" / WEIGHTS)
    decoder, _ = read_weights(decoder_file)
    save_tensors(models / "vae" / WEIGHTS, merged(stored, decoder), metadata)
    write_text(models / "playroom.json", json.dumps(notes, indent=2) + "\n")
    write_text(models / "README.md", card)
    return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoder", type=Path, help="what the polish wrote")
    parser.add_argument("--models", type=Path, default=Path("playroom_models"))
    options = parser.parse_args()
    try:
        facts = merge(options.decoder, options.models)
    except (OSError, ValueError) as error:
        print(error)
        return 1
    print(f"{options.models / 'vae'}: decoder of {facts['steps']} steps on {facts['device']}")
    return 0
