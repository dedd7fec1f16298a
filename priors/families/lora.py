"""Low-rank updates (LoRA): read, brought to one form, attached through diffusers, and counted.

Files differ in how they keep the strength alpha of each pair, and diffusers loses what differs from
module to module. So every alpha is multiplied into its pair here, and all pairs are padded to one
rank; what diffusers is handed has strength 1 everywhere. Afterwards the pairs in the networks are
compared with those of the file: none may be missing, weaker or stronger.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from scorefield.files import parse_json
from scorefield.integrity import check_finite_weights
from scorefield.priors.families.weights import (
    PriorError,
    check_sealed,
    check_weights_file,
    read_json,
)

Lora = str | os.PathLike[str]
"""A safetensors file of low-rank updates, or a folder with one."""

_NAME = "lora"
_PEFT_CONFIG = "adapter_config.json"

# The two halves of a pair as kohya, peft and older diffusers name them.
_DOWN = re.compile(r"^(?P<module>.+?)[._]lora(?:_linear_layer)?[._](?:down|A)\.weight$")
_UPS = (("lora_A.weight", "lora_B.weight"), ("down.weight", "up.weight"))
_MAGNITUDES = (".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight")

# How much the size of an update may differ from the file's: the rounding of half precision, which
# averages out over millions of numbers.
_SAME_SIZE = 1e-2


@dataclass(frozen=True)
class _Updates:
    """The pairs of a file, all of one rank and of strength 1.

    tensors: under the names of the file.
    modules: which they are of, as the file names them.
    magnitudes: how many of them have a DoRA magnitude (Liu et al. 2024).
    size: the sum of |B A|^2 over all pairs.
    """

    tensors: dict[str, Tensor]
    modules: tuple[str, ...]
    magnitudes: int
    size: float


def find_loras(lora: Lora | Sequence[tuple[Lora, float | int]] | None) -> list[tuple[Path, float]]:
    """The files and weights of `load_prior`'s argument, checked without reading the tensors.

    Raises:
        PriorError: a file is missing, damaged, or no safetensors file.
    """
    if lora is None:
        return []
    pairs = [(lora, 1.0)] if isinstance(lora, str | os.PathLike) else list(lora)
    return [(_lora_file(Path(path)), float(weight)) for path, weight in pairs]


def _lora_file(path: Path) -> Path:
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise PriorError(f"{path}: no .safetensors weights; name the file of the LoRA")
        if len(files) > 1:
            raise PriorError(f"{path}: holds {len(files)} safetensors files; name one of them")
        path = files[0]
    if not path.is_file():
        raise PriorError(f"{path}: no such LoRA; give a .safetensors file or a folder with one")
    if path.suffix != ".safetensors":
        raise PriorError(f"{path}: only .safetensors LoRA files are loaded; convert it")
    check_sealed(path.parent)
    check_weights_file(path)
    return path


def attach_loras(pipeline: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Add low-rank updates to the weights of a pipeline, through diffusers and peft.

    W + weight (alpha / rank) B A (Hu et al. 2022), for the network and the text encoders that a
    file has updates for; with magnitudes m, m (W + weight (alpha / rank) B A) over its norm. The
    updates are merged into the weights, which then are frozen as any.

    Raises:
        PriorError: a pipeline that takes none, no peft, or a file that does not fit as a whole.
    """
    if not loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise PriorError(f"{loras[0][0]}: a {type(pipeline).__name__} takes no LoRA; leave it out")
    try:
        import peft  # noqa: F401
    except ImportError:
        raise PriorError(
            f"{loras[0][0]}: LoRA needs peft; pip install 'scorefield[lora]'"
        ) from None
    for path, weight in loras:
        updates = _updates_in(path, "transformer" if hasattr(pipeline, "transformer") else "unet")
        try:
            # metadata is diffusers' way to give strengths, which are in the tensors already
            pipeline.load_lora_weights(dict(updates.tensors), adapter_name=_NAME)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise PriorError(
                f"{path}: does not fit this prior ({reason[:200]}); give a LoRA trained on it"
            ) from error
        parts = [name for name in pipeline._lora_loadable_modules if hasattr(pipeline, name)]
        _check_arrived(path, updates, [getattr(pipeline, name) for name in parts])
        pipeline.set_adapters([_NAME], [weight])
        pipeline.fuse_lora(components=parts, adapter_names=[_NAME])
        pipeline.unload_lora_weights()
        for name in parts:
            _check_sum(path, getattr(pipeline, name))


def _check_sum(path: Path, part: nn.Module) -> None:
    """Refuse weights that an update, finite in itself, has made infinite.

    Raises:
        PriorError: they are not finite; the file is named.
    """
    try:
        check_finite_weights(part.state_dict(), path)
    except ValueError as error:
        raise PriorError(
            f"{path}: its updates are too large for this prior, whose weights they make infinite; "
            "copy the file again, or give a lower weight"
        ) from error


def _updates_in(path: Path, network: str) -> _Updates:
    """`_read`, with errors that name the file.

    Raises:
        PriorError: it is damaged, or no LoRA.
    """
    try:
        return _read(path, network)
    except PriorError:
        raise
    except Exception as error:  # of a file whose header alone was looked at
        raise PriorError(
            f"{path}: cannot be read as a LoRA ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); copy the file again"
        ) from error


def _read(path: Path, network: str) -> _Updates:
    """The pairs of a file, and of peft's own config beside it."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    check_finite_weights(tensors, path)
    strengths = parse_json(metadata.get("lora_adapter_metadata", "{}"))
    if (path.parent / _PEFT_CONFIG).is_file():
        strengths = read_json(path.parent / _PEFT_CONFIG)
        # peft names modules from the network on, diffusers from the pipeline on
        tensors = {_from_pipeline(name, network): tensor for name, tensor in tensors.items()}
        strengths = {f"{part}.{key}": v for key, v in strengths.items()
                     for part in (network, "text_encoder")}  # fmt: skip
    return _normalised(path, tensors, strengths)


def _from_pipeline(name: str, network: str) -> str:
    bare = name.removeprefix("base_model.model.")
    return f"{'text_encoder' if bare.startswith('text_model.') else network}.{bare}"


def _normalised(
    path: Path, tensors: Mapping[str, Tensor], strengths: Mapping[str, Any]
) -> _Updates:
    """Every alpha in its pair, and all pairs of one rank, the further rows and columns zeros."""
    downs = {name: match["module"] for name in tensors if (match := _DOWN.match(name))}
    ups = {down: _up_of(down) for down in downs}
    alphas = {f"{module}.alpha" for module in downs.values()}
    magnitudes = {name for name in tensors if name.endswith(_MAGNITUDES)}
    known = {*downs, *ups.values(), *alphas, *magnitudes}
    strange = sorted(tensors.keys() - known) + sorted(set(ups.values()) - tensors.keys())
    if strange or not downs:
        raise PriorError(
            f"{path}: {strange[0] if strange else 'no tensor'} belongs to no pair of a low-rank "
            "update (LoHa, LoKr and the like do not load); give a LoRA of pairs down and up"
        )
    rank = max(len(tensors[name]) for name in downs)
    found = {name: tensors[name] for name in magnitudes}
    size = 0.0
    for name, module in downs.items():
        down, up = tensors[name].float(), tensors[ups[name]].float()
        own = len(down)
        alpha = tensors.get(f"{module}.alpha")
        strength = _strength(module, strengths) if alpha is None else None
        scale = strength(own) if strength else 1.0 if alpha is None else float(alpha) / own
        found[name] = torch.cat([down, down.new_zeros(rank - own, *down.shape[1:])])
        rest = up.new_zeros(len(up), rank - own, *up.shape[2:])
        found[ups[name]] = torch.cat([up * scale, rest], dim=1)
        if alpha is not None:
            found[f"{module}.alpha"] = torch.tensor(float(rank))
        size += _size(found[name], found[ups[name]])
    return _Updates(found, tuple(downs.values()), len(magnitudes), size)


def _up_of(down: str) -> str:
    ours, theirs = next(pair for pair in _UPS if down.endswith(pair[0]))
    return down.removesuffix(ours) + theirs


def _strength(module: str, strengths: Mapping[str, Any]) -> Any:
    """From the rank of a module to its strength, by peft's config of the part it is of."""
    part, _, inner = module.partition(".")
    alpha = strengths.get(f"{part}.lora_alpha")
    if alpha is None:
        return None
    for pattern, other in (strengths.get(f"{part}.alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", inner):
            alpha = other
    root = bool(strengths.get(f"{part}.use_rslora"))
    return lambda rank: alpha / (rank**0.5 if root else rank)


def _size(down: Tensor, up: Tensor) -> float:
    """|B A|^2 without the product: tr(B^T B A A^T)."""
    down, up = (half.detach().flatten(1).double() for half in (down, up))
    return float(((up.T @ up) * (down @ down.T)).sum())


def _check_arrived(path: Path, updates: _Updates, parts: Sequence[nn.Module]) -> None:
    """diffusers leaves out what it cannot place, without a word; we do not.

    Raises:
        PriorError: the networks hold fewer pairs than the file, or of another size.
    """
    named = {
        name: layer
        for part in parts
        for name, layer in part.named_modules()
        if _NAME in (getattr(layer, "lora_A", None) or {})
    }
    layers = list(named.values())
    sizes = [
        layer.scaling[_NAME] ** 2 * _size(layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight)
        for layer in layers
    ]
    wanted = len(updates.modules)
    # a fused projection of another code base is split into several pairs, never joined
    if len(layers) < wanted or abs(sum(sizes) - updates.size) > _SAME_SIZE * updates.size:
        raise PriorError(
            f"{path}: {len(layers)} of its {wanted} updates fit this prior, with "
            f"{100 * sum(sizes) / (updates.size or 1):.0f}% of their size"
            f"{_left_over(updates.modules, list(named))}; give a LoRA trained on it, in "
            "diffusers' or kohya's naming"
        )
    magnitudes = sum(bool(_NAME in (getattr(x, "lora_magnitude_vector", None) or {}))
                     for x in layers)  # fmt: skip
    if magnitudes < updates.magnitudes:
        raise PriorError(
            f"{path}: {magnitudes} of its {updates.magnitudes} DoRA magnitudes fit this prior; "
            "convert it to peft's naming, or give a LoRA without them"
        )


def _left_over(modules: Sequence[str], placed: Sequence[str]) -> str:
    """Words that name the modules of a file that found no place, if their names tell."""
    ends = tuple(name.replace(".", "_") for name in placed)
    left = [name for name in modules if not name.replace(".", "_").endswith(ends)]
    if len(left) != len(modules) - len(placed):
        return ""  # the names of another code base
    return f" (without a place: {', '.join(left[:3])}{', ...' if len(left) > 3 else ''})"
