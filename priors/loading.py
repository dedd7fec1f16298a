"""Priors by name, from a folder in diffusers' format, or from the hub."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from scorefield.acceleration import (
    check_compiler,
    compile_models,
    lay_out_channels_last,
)
from scorefield.hub import hub_file, is_hub_id, nearby_folder
from scorefield.integrity import check_finite_weights
from scorefield.priors.codec import LatentCodec
from scorefield.priors.embedded import EMBEDDED, embedded_folder
from scorefield.priors.families import FAMILIES, Card, ClipPipeline, pipeline_named
from scorefield.priors.families.control import check_controlnet, load_controlnet
from scorefield.priors.families.folder import (
    check_complete,
    check_folder,
    check_index,
    parts_of,
)
from scorefield.priors.families.lora import Lora, attach_loras, find_loras
from scorefield.priors.families.single_file import check_single_file, load_single_file
from scorefield.priors.families.weights import PriorError, check_sealed, read_json, variant_of
from scorefield.priors.features.memory import check_room, free_memory
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import PromptConditioner

__all__ = ["EMBEDDED", "PriorError", "check_folder", "load_prior"]


def load_prior(
    source: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    image_size: int | None = None,
    frames: int | None = None,
    lora: Lora | Sequence[tuple[Lora, float | int]] | None = None,
    controlnet: str | os.PathLike[str] | None = None,
    variant: str | None = None,
    configs: str | os.PathLike[str] | None = None,
    low_memory: bool = False,
    compile: bool = False,
    channels_last: bool | None = None,
) -> FrozenPrior:
    """The frozen prior of that name, folder or hub id.

    A file `scorefield.json` in the folder is its card: what of
    `scorefield.priors.families.Card` it holds goes before the family's own.

    source: an embedded prior ("shapes"); a folder in diffusers' format with safetensors weights
        and a pipeline of a class in `scorefield.priors.families.FAMILIES`; a checkpoint in one
        safetensors file, beside `configs`; or, as a string, a hub id "owner/model", the only case
        in which anything is fetched.
    dtype: of the networks' weights; everything around them stays float32, and so do autoencoders
        that overflow in half precision. None is the family's 16 bits on CUDA, else float32.
    image_size, frames: of what is made; None is what the network was trained on.
    lora: low-rank updates to add to the weights of the network, and of the text encoders if there
        are any for them: a safetensors file or a folder with one, or pairs of these and weights.
    controlnet: a folder with a ControlNet, which `FrozenPrior.with_control` shows images; for
        Stable Diffusion 1.x, 2.x and XL.
    variant: of the weights, such as "fp16" for files named model.fp16.safetensors; None is the
        plain ones, or those there are.
    configs: for a checkpoint in one file, a folder in diffusers' format of the model it was trained
        from, for its configs and tokenizers; weights need not be there and are not read.
    low_memory: keep the text encoders on the CPU (they are used once a prompt), encode one image
        at a time, decode in tiles, and compute the encoder's maps a second time for a gradient.
    compile: pass the network through torch.compile: its first passes take minutes longer, the
        later ones are faster, and what hooks into it runs it as it is written.
    channels_last: lay out 2D convolutions, of network and autoencoder, with their channels last;
        None does so on CUDA. Neither this nor `compile` changes values but for rounding.

    Raises:
        PriorError: one line that names the file and the remedy; where `check_folder` can tell,
            before any weights are read.
    """
    found = _folder(source, variant) if configs is None else _one_file(source, configs)
    card = found.card | {"name": found.card.get("name", found.name)}
    card |= {k: v for k, v in (("image_size", image_size), ("frames", frames)) if v is not None}
    # one name for the pipelines of the same parts
    kind = str(pipeline_named(read_json(found.folder / "model_index.json")["_class_name"]))
    on_cuda = torch.device(device).type == "cuda"
    if dtype is None:
        dtype = getattr(torch, FAMILIES[kind].half) if on_cuda else torch.float32
    loras = find_loras(lora)
    if controlnet is not None:
        if not isinstance(controlnet, str | os.PathLike):
            raise PriorError(f"controlnet must be one folder; got {controlnet!r}; give one of them")
        check_controlnet(Path(controlnet), kind)
    if compile:
        with _as_prior_error():
            check_compiler(device)
    with _quiet():
        pipeline = _load(found, kind, dtype)
        try:
            _bound_tokenizers(pipeline)
            # before what is added, which is checked as it comes and is not to be blamed for it
            _check_finite(pipeline, found.folder)
            attach_loras(pipeline, loras)
            if controlnet is not None:
                pipeline.controlnet = load_controlnet(Path(controlnet), pipeline.unet, dtype)
            prior = FAMILIES[kind].build(pipeline, Card(**card))
        except PriorError:
            raise
        except ValueError as error:
            raise PriorError(f"{found.folder}: {error}") from error
        except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
            # values that a config of this family cannot have, and that diffusers lets through
            raise PriorError(
                f"{found.folder}: its settings cannot be used ({type(error).__name__}: "
                f"{_reason(error)}); copy the folder again"
            ) from error
    if low_memory:
        _spare(prior)
    if (free := free_memory(device)) is not None:
        with _as_prior_error(f"--device {device}: "):
            check_room(prior, free, low_memory=low_memory)
    if on_cuda if channels_last is None else channels_last:
        lay_out_channels_last(prior.network)
        if isinstance(vae := getattr(prior.codec, "vae", None), torch.nn.Module):
            lay_out_channels_last(vae)
    if compile:
        compile_models(prior.network)
    return prior.to(device)


@dataclass(frozen=True)
class _Found:
    """What a prior is loaded from, checked as far as can be without its weights.

    folder: with its configs and, but for a checkpoint in one file, its weights.
    name: of the prior, where its card has none.
    card: what the folder's says to the family.
    variant: of the weights; None is the plain ones.
    file: the checkpoint.
    """

    folder: Path
    name: str
    card: dict[str, Any]
    variant: str | None = None
    file: Path | None = None


def _folder(source: str | os.PathLike[str], variant: str | None) -> _Found:
    folder = folder_of(source, variant)
    card = _card(check_folder(folder, variant))
    name = folder.name if Path(source).is_dir() else os.fspath(source)
    index = read_json(folder / "model_index.json")
    parts = parts_of(index, FAMILIES[str(pipeline_named(index["_class_name"]))])
    return _Found(folder, name, card, variant_of([folder / part for part in parts], variant))


def _one_file(source: str | os.PathLike[str], configs: str | os.PathLike[str]) -> _Found:
    file = Path(source)
    if file.is_dir() or os.fspath(source) in EMBEDDED:
        raise PriorError(
            f"{file}: has its own configs; configs (--configs) go with a checkpoint in one "
            "file, leave them out"
        )
    if not file.is_file():
        raise PriorError(f"{file}: no such file; configs go with a checkpoint in one file")
    check_single_file(file)
    folder = folder_of(configs)
    card = _card(check_folder(folder, weights=False))
    return _Found(folder, file.stem, card | {"name": file.stem}, file=file)


@contextmanager
def _as_prior_error(before: str = "") -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise PriorError(f"{before}{error}") from error


def _spare(prior: FrozenPrior) -> None:
    """Put the parts of a prior into their modes of little memory, those that have one."""
    if isinstance(prior.text, PromptConditioner):
        prior.text.stay()
    vae = getattr(prior.codec, "vae", None)
    modes = ["enable_slicing", "enable_gradient_checkpointing"]
    if isinstance(prior.codec, LatentCodec):
        prior.codec.always_in_tiles = True  # where its own mode would encode in tiles, too
    else:
        modes.append("enable_tiling")
    for mode in modes:
        if hasattr(vae, mode):
            with suppress(ValueError, NotImplementedError):  # of autoencoders without that mode
                getattr(vae, mode)()


def folder_of(source: str | os.PathLike[str], variant: str | None = None) -> Path:
    """The folder that a source names, downloaded if it names a hub id."""
    name = os.fspath(source)
    if name in EMBEDDED:
        folder = embedded_folder(name)
        if not folder.is_dir():
            raise PriorError(
                f"{folder}: the weights of the embedded prior {name!r} are missing; install "
                f"scorefield again, or train them with scorefield train-prior {name}"
            )
        check_sealed(folder)
        return folder
    if Path(name).is_dir():
        check_sealed(Path(name))
        return Path(name)
    if Path(name).is_file():
        raise PriorError(
            f"{name}: is one file, which lacks the configs and the tokenizer; give a folder with "
            "those of the model it was trained from, too: configs (--configs FOLDER)"
        )
    if is_hub_id(source):
        return _download(name, variant)
    raise PriorError(
        f"{name}: no such folder{nearby_folder(name)}; give an embedded prior "
        f"({', '.join(EMBEDDED)}), a folder in diffusers' format, or a hub id such as owner/model"
    )


def _card(content: dict[str, Any]) -> dict[str, Any]:
    """What a card says to the family; it may hold more, for people."""
    return {field.name: content[field.name] for field in fields(Card) if field.name in content}


def _download(hub_id: str, variant: str | None) -> Path:
    """The folder in the hub's cache; the family is checked before any weights are fetched."""
    try:
        with _quiet():
            from huggingface_hub import snapshot_download

            index = hub_file(hub_id, "model_index.json")
            content = read_json(index)
            family = check_index(f"{hub_id}/{index.name}", content)
            kind = str(pipeline_named(content["_class_name"]))
            if kind == ClipPipeline.__name__:
                patterns = ["*.json", "*.txt", "*.safetensors"]
                return Path(snapshot_download(hub_id, allow_patterns=patterns))
            left_out = dict.fromkeys(family.left_out)
            options = {} if variant is None else {"variant": variant}
            pipeline = pipeline_class(kind)
            return Path(pipeline.download(hub_id, use_safetensors=True, **left_out, **options))
    except PriorError:
        raise
    except Exception as error:
        raise PriorError(
            f"{hub_id}: no such folder, and not available as a hub id ({_reason(error)}); "
            "check the path, the id and the network"
        ) from error


def _check_finite(pipeline: Any, folder: Path) -> None:
    """Refuse networks that are not finite."""
    networks = {n: part for n, part in vars(pipeline).items() if isinstance(part, torch.nn.Module)}
    for name, network in networks.items():
        with _as_prior_error():
            check_finite_weights(network.state_dict(), folder / name)


def _load(found: _Found, class_name: str, dtype: torch.dtype) -> Any:
    """The pipeline, whole."""
    family, folder = FAMILIES[class_name], found.folder
    index = read_json(folder / "model_index.json")
    # diffusers wants to be told of the parts that an index says are not there
    absent = [name for name in family.optional if name in index and not any(index[name])]
    options: dict[str, Any] = dict.fromkeys((*family.left_out, *absent))
    if "safety_checker" in family.left_out:
        options["requires_safety_checker"] = False
    kind = pipeline_class(class_name)
    if found.file is not None:
        return load_single_file(kind, found.file, folder, index, dtype, family.float32, options)
    try:
        pipeline = kind.from_pretrained(
            str(folder),
            torch_dtype={"default": dtype, **dict.fromkeys(family.float32, torch.float32)},
            use_safetensors=True,
            local_files_only=True,
            **({} if found.variant is None else {"variant": found.variant}),
            **options,
        )
    except Exception as error:
        raise PriorError(
            f"{folder}: could not be loaded ({_reason(error)}); copy the folder again"
        ) from error
    check_complete(folder, index, pipeline, found.variant)
    return pipeline


def _bound_tokenizers(pipeline: Any) -> None:
    """A tokenizer whose config does not say how many tokens it takes: as many as its encoder."""
    for name in ("", "_2", "_3"):
        tokenizer = getattr(pipeline, f"tokenizer{name}", None)
        encoder = getattr(pipeline, f"text_encoder{name}", None)
        limit = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
        if tokenizer is not None and limit is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, limit)


def pipeline_class(name: str) -> Any:
    """A pipeline of diffusers, or of ours, by its name; its import says nothing."""
    if name == ClipPipeline.__name__:
        return ClipPipeline
    import diffusers

    with _quiet():  # transformers warns that torchvision is missing, which nothing here needs
        return getattr(diffusers, name)


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
