"""Arrays of others as tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["tensor_of"]


def tensor_of(values: Any, name: str = "the array") -> Tensor:
    """An array, a tensor or nested numbers as a tensor, sharing memory where torch can.

    Arrays that are flipped or of another byte order, which torch refuses, are copied.

    Args:
        values: numbers.
        name: what they are called in an error.

    Raises:
        ValueError: they are no numbers, such as an array of objects.
    """
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {values.dtype}, no numbers; give an array of floats")
        native = values.dtype.newbyteorder("=")
        if values.dtype != native or any(stride < 0 for stride in values.strides):
            values = np.ascontiguousarray(values, dtype=native)
    try:
        return torch.as_tensor(values)
    except (TypeError, RuntimeError) as error:  # a list of arrays of several shapes, say
        raise ValueError(f"{name} cannot be read as numbers ({error})") from error
