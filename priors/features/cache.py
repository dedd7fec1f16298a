"""A cache of feature maps on disk: one safetensors file per image and layer."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scorefield.files import whole_file
from scorefield.priors.levels import NoiseLevel


class FeatureCache:
    """Maps by a key of everything they depend on; a folder that may be deleted at any time.

    A file that is damaged counts as missing, and is written again. Several jobs may fill one
    folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def read(self, key: str) -> Tensor | None:
        """The map of a key, or None."""
        path = self.folder / f"{key}.safetensors"
        if not path.is_file():
            return None
        try:
            return load_file(path)["features"]
        except (SafetensorError, OSError, KeyError):
            return None

    def write(self, key: str, features: Tensor) -> None:
        """Keep a map: written aside and renamed, so that no reader sees a part of it."""
        with whole_file(self.folder / f"{key}.safetensors", shared=True) as part:
            save_file({"features": features.detach().cpu().contiguous()}, part)


def feature_key(
    prior: str,
    image: int,
    path: str,
    level: NoiseLevel,
    condition: Mapping[str, Tensor],
    ensemble: int,
    seed: int,
) -> str:
    """A digest of what a map depends on; the prompt counts as the tensors it is encoded to."""
    digest = hashlib.blake2b(digest_size=16)
    amplitudes = float(level.alpha).hex(), float(level.sigma).hex()
    digest.update(json.dumps([prior, image, path, amplitudes, ensemble, seed]).encode())
    for name in sorted(condition):
        values = condition[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
