"""A device that is not there: the CPU computes, and what a host would have waited for is counted.

Tensors on it are apart from the CPU's as a GPU's are, so that code which mixes them fails as it
would there. A wait is whatever needs a value of the device on the host before the program can go
on: a number that is read, a copy that blocks, a shape that depends on data.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "pretend"

# Shapes of their results are known once the device has computed them.
_SHAPED_BY_DATA = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
_READS = {"_local_scalar_dense", "equal", *_SHAPED_BY_DATA}

_waits: list[Counter[str]] = []


class OnDevice(Tensor):
    """A tensor of the pretended device around the CPU's."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return cast(OnDevice, made)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    there = [isinstance(one, OnDevice) for one in given]
    if (waited := _wait(func.overloadpacket.__name__, args, kwargs)) and _waits:
        _waits[-1][waited] += 1
    stays = any(there)
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*pytree.tree_map(_inner, args), **pytree.tree_map(_inner, kwargs))
    if not stays:
        return found
    if given and found is _inner(given[0]):
        return given[0]  # in place
    return pytree.tree_map(lambda one: OnDevice(one) if isinstance(one, Tensor) else one, found)


def _wait(name: str, args: Any, kwargs: dict[str, Any]) -> str | None:
    """What the host waits for in a call, None for nothing."""
    if name in _READS:
        return name
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        masks = [one for one in args[1] if one is not None and one.dtype is torch.bool]
        return "mask" if any(isinstance(one, OnDevice) for one in masks) else None
    if name == "copy_":
        to, source = args[:2]
        blocking = not (kwargs.get("non_blocking") or args[2:3] == (True,))
        if isinstance(to, OnDevice) != isinstance(source, OnDevice) and blocking:
            return "copy to the device" if isinstance(to, OnDevice) else "copy to the host"
    if name == "_to_copy" and kwargs.get("device") is not None:
        to_device = torch.device(kwargs["device"]).type == NAME
        if to_device != isinstance(args[0], OnDevice) and not kwargs.get("non_blocking"):
            return "copy to the device" if to_device else "copy to the host"
    if name == "repeat_interleave" and isinstance(args[0], OnDevice) and len(args) == 1:
        return name
    return None


def install() -> torch.device:
    """Registers the device, once in a process; returns it."""
    if not hasattr(torch, NAME):
        backend_registration._setup_privateuseone_for_python_backend(NAME)
        global _library  # lives as long as the registration
        _library = torch.library.Library("_", "IMPL")
        _library.fallback(lambda func, *args, **kwargs: _compute(func, args, kwargs), "PrivateUse1")
    return torch.device(NAME, 0)


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Counts the waits within, by what was waited for."""
    _waits.append(Counter())
    try:
        yield _waits[-1]
    finally:
        _waits.pop()
