"""What commands that make and judge a list of prompts share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scorefield.cli.command import PriorCommand, check_prompt

if TYPE_CHECKING:
    from scorefield.sds.judges import PromptJudge


@dataclass(frozen=True, kw_only=True)
class JudgingCommand(PriorCommand):
    """A command that makes a list of prompts and judges what came of them."""

    prompts: Path
    """Text file with one prompt per line; empty lines and those that begin with # do not count."""
    judge: Path | None = None
    """Weights of the judge; None takes the embedded one."""
    clip_model: str | None = None
    """Judge by this CLIP (folder or hub id) instead; prompts may then be about anything."""
    labels: Path | None = None
    """Judge by this folder of real images instead, in sub-folders named by what they show."""


def judge_of_prompts(command: JudgingCommand, prompts: Sequence[str]) -> "PromptJudge":
    """The judge that a command names.

    Raises:
        ValueError: it cannot be loaded, or several are named.
    """
    from scorefield.cli.loading import load_judge
    from scorefield.sds.judges import ClipJudge, WorldJudge
    from scorefield.sds.label_judge import LabelJudge

    named = {
        "--judge": command.judge,
        "--clip-model": command.clip_model,
        "--labels": command.labels,
    }
    given = [option for option, value in named.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} each name a judge; give one")
    if command.labels is not None:
        return LabelJudge.train(command.labels, progress=not command.quiet)
    if command.clip_model is None:
        return WorldJudge(load_judge(command.judge))
    return ClipJudge.load(command.clip_model, prompts)


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file.

    Raises:
        ValueError: it cannot be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); give --prompts a text file") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise ValueError(f"{path}: holds no prompts; write one per line")
    for prompt in prompts:
        check_prompt(prompt)
    return prompts
