"""Priors by name, from a folder in diffusers' format, or from the hub."""

import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
_LEFT_OUT: dict[str, Any] = {
    "safety_checker": None,
    "feature_extractor": None,
    "image_encoder": None,
}


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
        diffusers' format and safetensors weights; or, as a string, a hub id "owner/model", the
        only case in which anything is fetched.
    dtype: of the networks' weights; everything around them stays float32.

    Raises:
        PriorError: one line that names the file and the remedy; where `check_folder` can tell,
            before any weights are read.
    """
    folder = _find(source)
    card = check_folder(folder)
    pipeline = _load(folder, dtype)
    _check_complete(folder, pipeline)
    prior = FrozenPrior.from_pipeline(
        pipeline,
        name=card.get("name", folder.name if Path(source).is_dir() else os.fspath(source)),
        guidance_scale=card.get("guidance_scale", 7.5),
        vocabulary=card.get("vocabulary"),
    )
    return prior.to(device)


def _find(source: str | os.PathLike[str]) -> Path:
    """The folder that a source names, downloaded if it names a hub id."""
    name = os.fspath(source)
    if name in EMBEDDED:
        folder = Path(str(files("scorefield.priors") / "weights" / name))
        if not folder.is_dir():
            raise PriorError(
                f"{folder}: the weights of the embedded prior {name!r} are missing; install "
                "scorefield again, or train them with scorefield.priors.training.shapes"
            )
        return folder
    if Path(name).is_dir():
        return Path(name)
    if isinstance(source, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return _download(name)
    raise PriorError(
        f"{name}: no such folder; give an embedded prior ({', '.join(EMBEDDED)}), a folder in "
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
    _check_family(index, _json(index))
    for part in _PARTS:
        _json(folder / part / "config.json")
        _check_weights(folder / part)
    _json(folder / "scheduler" / "scheduler_config.json")
    tokenizer = folder / "tokenizer"
    if not any((tokenizer / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise PriorError(f"{tokenizer}: tokenizer.json or vocab.json is missing; copy it again")
    return _json(folder / _CARD) if (folder / _CARD).is_file() else {}


def _check_family(index: Path | str, content: dict[str, Any]) -> None:
    family = content.get("_class_name")
    if family != _FAMILY:
        raise PriorError(
            f"{index}: holds a {family}; only a {_FAMILY} (Stable Diffusion 1.x, 2.x) loads, "
            "give one of these"
        )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PriorError(f"{path}: missing; the folder is incomplete, copy it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PriorError(f"{path}: not valid JSON ({error}); copy the file again") from None
    if not isinstance(content, dict):
        raise PriorError(f"{path}: must hold a JSON object; copy the file again")
    return content


def _check_weights(folder: Path) -> int:
    """How many tensors the weights hold, by their headers and the files' sizes."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(p for p in folder.iterdir() if p.suffix in _PICKLES)
        if pickled:
            raise PriorError(
                f"{pickled[0]}: pickled weights can run code and are not loaded; convert with "
                "pipeline.save_pretrained(folder, safe_serialization=True)"
            )
        raise PriorError(
            f"{folder}: no .safetensors weights; the folder is incomplete, copy it again"
        )
    count = 0
    for path in weights:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if 8 + length <= size else b""
        try:
            entries = json.loads(header)
            ends = [e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise PriorError(f"{path}: truncated or damaged header; copy the file again") from None
        if size != expected:
            raise PriorError(f"{path}: has {size} of {expected} bytes; copy the file again")
        count += len(ends)
    return count


def _check_complete(folder: Path, pipeline: Any) -> None:
    """diffusers and transformers go on without the tensors that a file lacks; we do not."""
    for part in _PARTS:
        held, needed = _check_weights(folder / part), len(getattr(pipeline, part).state_dict())
        if held < needed:
            raise PriorError(
                f"{folder / part}: the weights hold {held} of {needed} tensors; copy them again"
            )


def _download(hub_id: str) -> Path:
    """The folder in the hub's cache; the family is checked before any weights are fetched."""
    try:
        with _quiet():
            from diffusers import StableDiffusionPipeline
            from huggingface_hub import hf_hub_download

            index = Path(hf_hub_download(hub_id, "model_index.json"))
            _check_family(f"{hub_id}/{index.name}", _json(index))
            return Path(StableDiffusionPipeline.download(hub_id, use_safetensors=True, **_LEFT_OUT))
    except PriorError:
        raise
    except Exception as error:
        raise PriorError(
            f"{hub_id}: no such folder, and not available as a hub id ({_reason(error)}); "
            "check the path, the id and the network"
        ) from error


def _load(folder: Path, dtype: torch.dtype) -> Any:
    try:
        with _quiet():
            from diffusers import StableDiffusionPipeline

            return StableDiffusionPipeline.from_pretrained(
                str(folder),
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                requires_safety_checker=False,
                **_LEFT_OUT,
            )
    except Exception as error:
        raise PriorError(
            f"{folder}: could not be loaded ({_reason(error)}); copy the folder again"
        ) from error


def _reason(error: Exception) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading says what went wrong by raising; diffusers and transformers say nothing else."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    for log in libraries:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for log, (verbosity, bars) in zip(libraries, before, strict=True):
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()
