"""Damage: bytes cut, flipped and doubled; JSON values replaced by what nobody expects; tensors of the wrong kind."""

from __future__ import annotations

import copy
import io
import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save

Damage = Callable[[bytes, Random], bytes]


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 7, 10**9, 10**30, 0.5, -0.0, float("nan"), float("inf"), 1e308),
    *("", "x", "x" * 10_000, "\u0000", "../../x", "/etc/passwd", "C:\\x", "ü木", "null"),
    *([], [None], [-1, -1], {}, {"x": 1}, _deep(50)),
)


def cut(content: bytes, chance: Random) -> bytes:
    return content[: chance.choice((0, 1, 7, 8, 9, chance.randrange(len(content) + 1), max(0, len(content) - 1)))]


def flip(content: bytes, chance: Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 4, 32))):
        if damaged:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def flip_early(content: bytes, chance: Random) -> bytes:
    """A bit among the first kilobyte, where formats say what follows."""
    damaged = bytearray(content)
    damaged[chance.randrange(min(len(damaged), 1024))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def splice(content: bytes, chance: Random) -> bytes:
    """A part is put in again, left out, or something else is put in."""
    start, stop = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    stop = min(stop, start + 4096)
    put = chance.choice((b"", content[start:stop] * 2, chance.randbytes(stop - start), b"\xff" * 8, b"\x00" * 64))
    return content[:start] + put + content[stop:]


def replace(content: bytes, chance: Random) -> bytes:
    """Something else under that name."""
    page = b"<!DOCTYPE html><html><body>404</body></html>"
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    return chance.choice(
        (b"", page, script, chance.randbytes(1000), b"\x80\x04N.", b"PK\x03\x04" + bytes(60), b"\n" * 99)
    )


BYTES: tuple[Damage, ...] = (cut, flip, flip, splice, replace)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    places = [place]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        places += _places(part, (*place, key))
    return places


def odd_value(value: Any, chance: Random) -> Any:
    """A JSON value with something odd at a place of chance: another value, one that is gone, one too many."""
    value = copy.deepcopy(value)
    place = chance.choice(_places(value))
    if not place:
        return copy.deepcopy(chance.choice(ODD))
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    action = chance.choice(("replace", "replace", "replace", "drop", "rename", "nudge"))
    if action == "drop":
        del parent[place[-1]]
    elif action == "rename" and isinstance(parent, dict):
        parent[f"{place[-1]}_"] = parent.pop(place[-1])
    elif action == "nudge" and isinstance(parent[place[-1]], int | float):
        parent[place[-1]] = parent[place[-1]] * chance.choice((-1, 2, 3, 1000)) + chance.choice((-1, 0, 1))
    else:
        parent[place[-1]] = copy.deepcopy(chance.choice(ODD))
    return value


def odd_json(content: bytes, chance: Random) -> bytes:
    if chance.random() < 0.2:
        return chance.choice(BYTES)(content, chance)
    return json.dumps(odd_value(json.loads(content), chance)).encode("utf-8", "surrogatepass")


def odd_lines(content: bytes, chance: Random) -> bytes:
    """A line of JSON lines with something odd in it."""
    if chance.random() < 0.2:
        return chance.choice(BYTES)(content, chance)
    lines = content.decode().splitlines()
    number = chance.randrange(len(lines))
    lines[number] = json.dumps(odd_value(json.loads(lines[number]), chance))
    return "\n".join(lines).encode()


def flip_header(content: bytes, chance: Random) -> bytes:
    """A bit in the header of a safetensors file: what comes after it has no checksum in any format of weights."""
    length = min(len(content), 8 + int.from_bytes(content[:8], "little"))
    damaged = bytearray(content)
    damaged[chance.randrange(length)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def false_length(content: bytes, chance: Random) -> bytes:
    length = chance.choice((0, 1, 2**63, 2**64 - 1, len(content), 100_000_001, chance.randrange(1 << 40)))
    return struct.pack("<Q", length) + content[8:]


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def odd_settings(content: bytes, chance: Random) -> bytes:
    """Metadata of a safetensors file with something odd, above all in its settings."""
    notes = _metadata(content)
    name = chance.choice([*(["settings"] * 6 if "settings" in notes else []), *notes] or ["format"])
    if name == "settings":
        notes[name] = json.dumps(odd_value(json.loads(notes[name]), chance))
    else:
        notes[name] = chance.choice(("", "pt", "x" * 100, "\u0000"))
    if chance.random() < 0.1:
        notes.pop(name)
    return save(load(content), notes)


DTYPES = (torch.int8, torch.uint8, torch.bool, torch.int32, torch.int64, torch.float64, torch.complex64, torch.float16)
DTYPES += (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


def odd_tensors(state: dict[str, torch.Tensor], chance: Random) -> dict[str, torch.Tensor]:
    """One tensor of another kind, shape or name, with NaN, missing, or one too many."""
    state = dict(state)
    name = chance.choice(sorted(state))
    tensor = state[name]
    action = chance.choice(("dtype", "shape", "drop", "rename", "nan", "add", "prefix", "empty", "transpose"))
    if action == "dtype":
        state[name] = tensor.to(chance.choice(DTYPES))
    elif action == "shape":
        state[name] = chance.choice((tensor[None], tensor.flatten()[:-1], tensor.flatten(), torch.zeros(())))
    elif action == "drop":
        del state[name]
    elif action == "rename":
        state[f"{name}_"] = state.pop(name)
    elif action == "nan":
        state[name] = (
            tensor.clone().fill_(chance.choice((float("nan"), float("inf")))) if tensor.is_floating_point() else tensor
        )
    elif action == "add":
        state["extra"] = torch.zeros(3)
    elif action == "prefix":
        prefix = chance.choice(("module.", "_orig_mod.", "unet.", "x."))
        state = {prefix + key: value for key, value in state.items()}
    elif action == "empty":
        state = {}
    elif tensor.ndim == 2:
        state[name] = tensor.T.contiguous()
    return state


def odd_safetensors(content: bytes, chance: Random) -> bytes:
    return save(odd_tensors(load(content), chance), _metadata(content))


WEIGHTS: tuple[Damage, ...] = (
    cut,
    flip_header,
    flip_header,
    false_length,
    replace,
    odd_settings,
    odd_settings,
    odd_safetensors,
)


def odd_pickle(content: bytes, chance: Random) -> bytes:
    """A pickle of torch with odd tensors, wrapped, cut, flipped, or with a tensor that claims more than there is."""
    if chance.random() < 0.5:
        return chance.choice(BYTES)(content, chance)
    state = torch.load(io.BytesIO(content), weights_only=True)
    table = odd_tensors(state, chance) if all(isinstance(value, torch.Tensor) for value in state.values()) else state
    if table and chance.random() < 0.2:
        table[next(iter(table))] = torch.zeros(1).expand(10**5, 10**5)  # 40 GB if somebody unfolds it
    wrapped = chance.choice((table, table, {"state_dict": table}, [table], {"x": 1}, 5, {"state_dict": {"a": table}}))
    buffer = io.BytesIO()
    torch.save(wrapped, buffer)
    return buffer.getvalue()
