"""Networks from folders as transformers and diffusers save them: whole, or an error that names the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from .configs import CONFIG, blueprint, check_counts_in, check_like, count_in, read_json
from .layouts import attention_name
from .reading import check_dtypes, describe_misfit, shapes_of
from .tensors import FULL_FIRST, INDICES, NO_WEIGHTS, TRANSFORMERS, open_folder

LARGEST = 1 << 16  # sample_size, in px or latent cells


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Makes one ValueError that names `what` of all that a library raises at damaged files."""
    try:
        yield
    except Exception as error:  # a pickle, a tokenizer and a safetensors file each fail in many ways
        detail = shorten(f"{type(error).__name__} {error}", 300)
        raise ValueError(
            f"{what} cannot be read. It may be cut off, another network's, or a web page saved under its name: "
            f"download it again. In detail: {detail}"
        ) from error


def load_whole(kind: Any, folder: Path, what: str, **options: Any) -> tuple[Any, list[str]]:
    """A transformers network, frozen, in float32, and names of tensors in its folder that it has no use for.

    transformers itself would put random weights in the place of missing ones. Raises FileNotFoundError, or ValueError
    naming `what`, the folder and what is wrong with it.
    """
    from transformers import AutoConfig

    config_file = present(folder / CONFIG, f"{what[0].lower()}{what[1:]}, a folder as transformers saves it")
    read_json(config_file)
    with reading(str(config_file)):
        config = (getattr(kind, "config_class", None) or AutoConfig).from_pretrained(folder, local_files_only=True)
    check_counts_in(config.to_dict(), config_file)
    files = open_folder(folder, TRANSFORMERS)
    with blueprint(str(config_file), len(files.stored)):
        drawn = kind.from_config(config) if hasattr(kind, "from_config") else kind(config, **options)
    names = [name for name in files.stored if not name.endswith(NO_WEIGHTS)]
    check_dtypes({name: files.stored[name].dtype for name in names if not name.endswith(INDICES)}, folder)
    state = dict(files.read(names))
    with reading(f"{what} in {folder}"):
        network, found = type(drawn).from_pretrained(  # what an AutoModel chose
            None,
            config=config,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            **options,
        )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"The weights in {folder} are not those of {kind.__name__}: {len(missing)} are missing, such as "
            f"{missing[0]}. With random ones in their place every number would be wrong."
        )
    if other := sorted(str(name) for name, *_ in found["mismatched_keys"]):
        raise ValueError(
            f"The weights in {folder} do not fit their own config: {len(other)} of another shape (such as {other[0]})."
        )
    return network.requires_grad_(False).eval(), sorted(found["unexpected_keys"])


def load_model(kind: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A diffusers model of this class in this precision, from full or 16 bit files, in one or in shards.

    Raises FileNotFoundError, or ValueError naming the folder or file and what is wrong with it.
    """
    config_file = present(folder / CONFIG, f"the folder of a {kind.__name__}, as diffusers saves it")
    config = read_json(config_file)
    check_like(config, kind, config_file)
    if config.get("sample_size") is not None:
        count_in(config, "sample_size", config_file, most=LARGEST)
    files = open_folder(folder, FULL_FIRST)
    with blueprint(str(config_file), len(files.stored)):
        network = kind.from_config(config)
    expected = shapes_of(network.state_dict())
    names = {name: name if name in expected else attention_name(name) for name in files.stored}
    if misfit := describe_misfit(expected, {names[name]: shape for name, shape in files.shapes.items()}):
        raise ValueError(f"The weights in {folder} do not fit their own config: {misfit}. Fetch them again.")
    check_dtypes({name: entry.dtype for name, entry in files.stored.items()}, folder)
    network.load_state_dict({names[name]: tensor.to(dtype) for name, tensor in files.read()}, assign=True)
    network.register_to_config(_name_or_path=str(folder))
    return network.eval()


def present(path: Path, needed: str) -> Path:
    """The path. Raises FileNotFoundError, saying what is `needed`, when no file is there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Needed is {needed}.")
    return path
