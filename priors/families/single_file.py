"""A checkpoint in one file, which has the networks of a pipeline and none of its configs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scorefield.priors.families.weights import PriorError, check_weights_file


def check_single_file(file: Path) -> None:
    """Check a checkpoint by its name, header and size.

    Raises:
        PriorError: it is no safetensors file, or a damaged one.
    """
    if file.suffix != ".safetensors":
        raise PriorError(
            f"{file}: pickled weights can run code and are not loaded; convert it to .safetensors"
        )
    check_weights_file(file)


def load_single_file(
    pipeline_class: Any,
    file: Path,
    folder: Path,
    index: Mapping[str, Any],
    dtype: torch.dtype,
    float32: tuple[str, ...],
    left_out: Mapping[str, Any],
) -> Any:
    """The pipeline of a file, with configs and tokenizers of a folder, through diffusers.

    Nothing is fetched, whatever diffusers knows of such files.

    index: of the folder.
    float32: parts in that precision.
    left_out: options of the pipeline, among them the parts that it goes without.

    Raises:
        PriorError: the file does not have all networks of the index, or not all of their tensors.
    """
    import diffusers

    options = {"config": str(folder), "local_files_only": True}
    try:
        precise = {
            part: getattr(diffusers, index[part][1]).from_single_file(
                str(file), subfolder=part, torch_dtype=torch.float32, **options
            )
            for part in float32
            if part in index and dtype != torch.float32
        }
        return pipeline_class.from_single_file(
            str(file), torch_dtype=dtype, **options, **left_out, **precise
        )
    except NotImplementedError:  # of moving what has no values
        reason = "tensors of a network are missing"
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    raise PriorError(
        f"{file}: does not hold the networks of {folder} ({reason[:200]}); give a file with all of "
        "them, and the configs of the model it was trained from"
    )
