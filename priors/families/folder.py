"""Checks of a pipeline's folder that need not read its weights."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scorefield.priors.families import FAMILIES, Family, family_named
from scorefield.priors.families.schedules import levels_of_class
from scorefield.priors.families.unets import cameras_told
from scorefield.priors.families.weights import PriorError, check_weights, read_json, variant_of

CARD = "scorefield.json"
"""Name of the card in a pipeline's folder."""

# Keys that a class writes into its config and works out again.
_WRITTEN = {"AutoencoderTiny": ("block_out_channels", "force_upcast")}

_WITHOUT_WEIGHTS = ("tokenizer", "feature_extractor")
_OF_TRANSFORMERS = (*_WITHOUT_WEIGHTS, "text_encoder", "image_encoder")

# Of byte pairs (CLIP) or sentence pieces (T5).
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")


def check_folder(
    folder: Path, variant: str | None = None, *, weights: bool = True
) -> dict[str, Any]:
    """Check a pipeline folder without reading its weights; returns its card, {} if it has none.

    variant: of the weights, such as "fp16"; None is plain, or what there is.
    weights: whether they must be there; without, only the configs and tokenizers.

    Raises:
        PriorError: something is missing, truncated, pickled, or of another model family, or a
            config has a key that is not understood.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise PriorError(
            f"{path}: missing, so this is no diffusers pipeline folder; save one with "
            "pipeline.save_pretrained(folder, safe_serialization=True)"
        )
    index = read_json(path)
    family = check_index(path, index)
    parts = parts_of(index, family)
    if not any((folder / part).exists() for part in parts) and (folder / "config.json").is_file():
        raise PriorError(
            f"{folder}: has all files in one folder, as old repositories of a single network have; "
            f"diffusers reads it: save it once more, {index['_class_name']}.from_pretrained(FOLDER)"
            ".save_pretrained(ANOTHER), and give that folder"
        )
    for part in parts:
        check_config(folder / part / "config.json", index[part], family.configs.get(part, {}))
    if weights:
        chosen = variant_of([folder / part for part in parts], variant)
        for part in parts:
            check_weights(folder / part, chosen)
    _check_scheduler(folder / "scheduler" / "scheduler_config.json", index["scheduler"][1])
    for part in (name for name in index if name.startswith("tokenizer") and _is_held(index[name])):
        if not any((folder / part / name).is_file() for name in _TOKENIZER_FILES):
            raise PriorError(
                f"{folder / part}: tokenizer.json or vocab.json is missing; copy it again"
            )
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    _check_cameras(folder, family, card.get("cameras"))
    return card


def _check_cameras(folder: Path, family: Family, told: Any) -> None:
    """Refuse cameras that the network would not be told, or that the card does not name."""
    if not family.cameras:
        if told is not None:
            raise PriorError(
                f"{folder / CARD}: says cameras, which models of this family are not told; remove "
                "the key"
            )
        return
    path = folder / "unet" / "config.json"
    try:
        cameras_told(read_json(path), told)
    except ValueError as error:
        raise PriorError(f"{path}: {error}") from error


def _check_scheduler(path: Path, named: str) -> None:
    """diffusers makes the class of the index, whatever class the config was saved by."""
    own = str(read_json(path).get("_class_name") or named)
    if levels_of_class(own) != levels_of_class(named):
        raise PriorError(
            f"{path}: is of {own} and model_index.json names {named}, whose noise levels are "
            "others; give the config that the network was trained with, and name its class there"
        )


def check_index(path: Path | str, index: Mapping[str, Any]) -> Family:
    """The family that a model index names; its parts are of classes that the family knows.

    Whatever diffusers would import, nothing but these is.

    Raises:
        PriorError: a pipeline, a part, a class or an option that is not known.
    """
    family = family_named(index.get("_class_name"))
    if family is None:
        raise PriorError(
            f"{path}: holds a {index.get('_class_name')}; what loads is a "
            f"{', '.join(FAMILIES)}; give one of these"
        )
    for part in (*family.parts, "scheduler"):
        if not _is_held(index.get(part)):
            raise PriorError(f"{path}: names no {part}; copy the folder again")
    known = {**family.parts, **family.optional}
    for name, entry in index.items():
        if name.startswith("_") or name in family.left_out:
            continue
        if not isinstance(entry, list):
            # an option of the pipeline
            if entry in (None, False) or name in family.options:
                continue
        elif not any(entry) or (_is_held(entry) and _is_known(name, entry, known)):
            continue
        raise PriorError(
            f"{path}: {name} is {entry!r}, which a {index['_class_name']} is not known to have; "
            "give the folder as diffusers saves it, with parts of diffusers and transformers"
        )
    return family


def _is_known(name: str, entry: list[str], known: Mapping[str, tuple[str, ...]]) -> bool:
    library, kind = entry
    if name == "scheduler":  # its levels are understood or refused when it is read
        return library == "diffusers" and kind.endswith("Scheduler")
    if kind == "ClipUNet":  # of ours, which diffusers is not asked for
        return library.startswith("scorefield") and kind in known.get(name, ())
    return kind in known.get(name, ()) and library == (
        "transformers" if name.startswith(_OF_TRANSFORMERS) else "diffusers"
    )


def check_config(path: Path, entry: list[str], only: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse a config with a key that changes the mathematics and is not understood.

    diffusers ignores the keys that its class does not have; those that its pipeline, not the class,
    would act on are the family's (`Family.configs`).

    Raises:
        PriorError: such a key, a quantised part, or no such file.
    """
    config = read_json(path)
    library, kind = entry
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "some method")
        raise PriorError(
            f"{path.parent}: the weights are quantised ({method}), which does not load; give the "
            "folder with weights of float16, bfloat16 or float32"
        )
    if library == "diffusers":
        import diffusers

        known = {*inspect.signature(getattr(diffusers, kind).__init__).parameters}
        known |= {*_WRITTEN.get(kind, ())}
        for key, value in config.items():
            if not key.startswith("_") and key not in known and value not in (None, False):
                raise PriorError(
                    f"{path}: has {key} = {value!r}, which {kind} of diffusers "
                    f"{diffusers.__version__} does not know and would ignore; install a newer "
                    "diffusers, or remove the key if it is a remark"
                )
    for key, allowed in only.items():
        if config.get(key) not in allowed:
            raise PriorError(
                f"{path}: has {key} = {config[key]!r}, and what loads has "
                f"{' or '.join(map(repr, allowed))}; give a model of this family"
            )


def parts_of(index: Mapping[str, Any], family: Family) -> list[str]:
    """The parts with weights that a model index names and the family uses."""
    known = {**family.parts, **family.optional}
    return [
        name
        for name, value in index.items()
        if _is_held(value) and name in known and not name.startswith(_WITHOUT_WEIGHTS)
    ]


def _is_held(entry: Any) -> bool:
    """Whether an entry of a model index is a part: [library, class], both null where left out."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(x, str) for x in entry)


def check_complete(
    folder: Path, index: Mapping[str, Any], pipeline: Any, variant: str | None = None
) -> None:
    """diffusers and transformers go on without the tensors that a file lacks; we do not.

    Raises:
        PriorError: the files of a part hold fewer tensors than it has.
    """
    family = check_index(folder, index)
    for part in parts_of(index, family):
        model = getattr(pipeline, part)
        if type(model).__name__ != index[part][1]:
            continue  # AnimateDiff makes its U-Net of a plain one and the motion modules
        held, needed = check_weights(folder / part, variant), _distinct(model.state_dict())
        if held < needed:
            raise PriorError(
                f"{folder / part}: the weights hold {held} of {needed} tensors; copy them again"
            )


def _distinct(tensors: dict[str, Tensor]) -> int:
    """How many tensors there are, those that share their memory counted and saved once."""
    places = {
        name if tensor.is_meta or tensor.numel() == 0 else tensor.data_ptr()
        for name, tensor in tensors.items()
    }
    return len(places)
