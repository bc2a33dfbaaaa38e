"""A GPU where there is none: tensors that compute on the CPU and refuse what tensors of a GPU refuse.

Inside of `gpu()` tensors can be moved to and made on DEVICE, which is called Apple's: it needs no driver to be named.
What such tensors meet has to be on the same device, except numbers and what indexes them, and they are no arrays of
numpy's. Memory, half precision and the order of sums are the CPU's.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("mps", 0)
COPIES = ("aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::set_")
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")  # may be on the CPU


class Elsewhere(Tensor):
    """A tensor of the pretended device; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor):
        options: Any = dict(strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype)
        wrapper = Tensor._make_wrapper_subclass(cls, inner.shape, device=DEVICE, **options)
        wrapper.inner = inner
        return wrapper

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), settings=None):
        return computed(function, arguments, settings or {})

    def __getitem__(self, index):
        return Elsewhere(self.inner[inner_of(index)])

    def __setitem__(self, index, values):
        self.inner[inner_of(index)] = inner_of(values)

    def copy_(self, values, non_blocking=False):
        self.inner.copy_(inner_of(values))
        return self

    def __invert__(self):
        return Elsewhere(~self.inner)

    def nonzero(self, **settings):
        return Elsewhere(self.inner.nonzero(**settings))

    def item(self):
        return self.inner.item()

    def tolist(self):
        return self.inner.tolist()

    def __bool__(self):
        return bool(self.inner)

    def __int__(self):
        return int(self.inner)

    def __float__(self):
        return float(self.inner)

    def __index__(self):
        return self.inner.__index__()

    def __repr__(self, **_):
        return f"Elsewhere({self.inner!r})"


def inner_of(values: Any) -> Any:
    """Tensors of the pretended device, in lists and tables too, as those of the CPU."""
    return tree_map(lambda one: one.inner if isinstance(one, Elsewhere) else one, values)


def computed(function: Any, arguments: Any, settings: dict[str, Any]) -> Any:
    """What an operation gives for tensors of both devices. Raises RuntimeError where a GPU would."""
    name = function._schema.name
    tensors = [one for one in tree_flatten((arguments, settings))[0] if isinstance(one, Tensor)]
    wrappers = [one for one in tensors if isinstance(one, Elsewhere)]
    plain = [one for one in tensors if not isinstance(one, Elsewhere) and one.ndim]
    if wrappers and plain and name not in COPIES:
        indexing = name in INDEXED and isinstance(arguments[0], Elsewhere)
        values = arguments[2] if indexing and len(arguments) > 2 else None
        if not indexing or isinstance(values, Tensor) and not isinstance(values, Elsewhere) and values.ndim:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {DEVICE} and cpu")
    device = settings.get("device")
    there = bool(wrappers) if device is None else torch.device(device).type == DEVICE.type
    if name == "aten::copy_":
        there = isinstance(arguments[0], Elsewhere)
    if device is not None:
        settings = {**settings, "device": torch.device("cpu")}
    owners = {id(one.inner): one for one in wrappers}
    inner_arguments = inner_of(arguments)
    results = function(*inner_arguments, **inner_of(settings))

    def placed(one: Any) -> Any:
        if not isinstance(one, Tensor) or not there:
            return one
        return owners[id(one)] if id(one) in owners else Elsewhere(one)

    if name == "aten::_to_copy" and results is inner_arguments[0]:
        results = results.clone()
    return tree_map(placed, results)


class _Factories(TorchDispatchMode):
    """Makes tensors on the pretended device where they are asked for."""

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        return computed(function, arguments, settings or {})


@contextmanager
def gpu():
    """The device, for tensors made in this context: a real one where VISUAL_INSERTION_TEST_DEVICE names it."""
    real = os.environ.get("VISUAL_INSERTION_TEST_DEVICE")
    if real:
        yield torch.device(real)
        return
    set_item, copy = Tensor.__setitem__, Tensor.copy_

    def set_values(self, index, values):  # from one device to another, as a GPU does
        set_item(self, index, inner_of(values))

    def copy_values(self, values, non_blocking=False):
        return copy(self, inner_of(values), non_blocking)

    with _Factories(), patch.object(Tensor, "__setitem__", set_values), patch.object(Tensor, "copy_", copy_values):
        yield DEVICE
