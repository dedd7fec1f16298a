"""Priors by name, from a folder in diffusers' format, or from the hub."""

import json
import os
import re
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from scorefield.priors.prior import FrozenPrior

EMBEDDED = ("shapes",)
"""The priors that ship with the package."""

_FAMILY = "StableDiffusionPipeline"
_PARTS = ("unet", "vae", "text_encoder")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_CARD = "scorefield.json"


class PriorError(ValueError):
    """A prior that cannot be loaded; the message names the file and the remedy."""


def load_prior(
    source: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FrozenPrior:
    """The frozen prior of that name, folder or hub id.

    source: an embedded prior ("shapes"); a folder with a Stable Diffusion 1.x or 2.x pipeline in
        diffusers' format and safetensors weights; or a hub id "owner/model", the only case in
        which anything is fetched.
    dtype: of the networks' weights; everything around them stays float32.

    Raises:
        PriorError: one line that names the file and the remedy, before any weights are read.
    """
    text = os.fspath(source)
    folder = Path(text)
    if text in EMBEDDED:
        folder = Path(str(files("scorefield.priors") / "weights" / text))
    if folder.is_dir():
        card = check_folder(folder)
        return _load(str(folder), card, device, dtype, local=True)
    if re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", text):
        return _load(text, {}, device, dtype, local=False)
    raise PriorError(
        f"{text}: no such folder; give an embedded prior ({', '.join(EMBEDDED)}), a folder in "
        "diffusers' format, or a hub id such as owner/model"
    )


def check_folder(folder: Path) -> dict[str, Any]:
    """Check a pipeline folder without reading its weights; returns its card, {} if it has none.

    Raises:
        PriorError: something is missing, truncated, pickled, or of another model family.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise PriorError(
            f"{index}: missing, so this is no diffusers pipeline folder; save one with "
            "pipeline.save_pretrained(folder, safe_serialization=True)"
        )
    family = _json(index).get("_class_name")
    if family != _FAMILY:
        raise PriorError(
            f"{index}: holds a {family}; only {_FAMILY} folders (Stable Diffusion 1.x, 2.x) load"
        )
    for part in _PARTS:
        _json(folder / part / "config.json")
        _check_weights(folder / part)
    _json(folder / "scheduler" / "scheduler_config.json")
    if not any((folder / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise PriorError(f"{folder / 'tokenizer'}: tokenizer.json or vocab.json is missing; copy it")
    return _json(folder / _CARD) if (folder / _CARD).is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PriorError(f"{path}: missing; the folder is incomplete, copy it again")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise PriorError(f"{path}: not valid JSON ({error}); copy the file again") from None
    if not isinstance(content, dict):
        raise PriorError(f"{path}: must hold a JSON object; copy the file again")
    return content


def _check_weights(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(p for p in folder.iterdir() if p.suffix in _PICKLES)
        if pickled:
            raise PriorError(
                f"{pickled[0]}: pickled weights can run code and are not loaded; convert with "
                "pipeline.save_pretrained(folder, safe_serialization=True)"
            )
        raise PriorError(f"{folder}: no .safetensors weights; the folder is incomplete")
    for path in weights:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if 8 + length <= size else b""
        try:
            entries = json.loads(header)
            ends = [e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PriorError(f"{path}: truncated or damaged header; copy the file again") from None
        expected = 8 + length + max(ends, default=0)
        if size != expected:
            raise PriorError(
                f"{path}: truncated, {size} of {expected} bytes; copy the file again"
            )


def _load(
    source: str, card: dict[str, Any], device: torch.device | str, dtype: torch.dtype, local: bool
) -> FrozenPrior:
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            pipeline = StableDiffusionPipeline.from_pretrained(
                source,
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=local,
                safety_checker=None,
                feature_extractor=None,
                image_encoder=None,
                requires_safety_checker=False,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        hint = "copy the folder again" if local else "check the id and the network, or give a folder"
        raise PriorError(f"{source}: could not be loaded ({reason}); {hint}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    prior = FrozenPrior.from_pipeline(
        pipeline,
        name=card.get("name", Path(source).name),
        guidance_scale=card.get("guidance_scale", 7.5),
        vocabulary=card.get("vocabulary"),
    )
    return prior.to(device)
