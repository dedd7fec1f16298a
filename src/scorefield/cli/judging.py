"""What verbs that make and judge a list of prompts share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scorefield.cli.loading import load_judge
from scorefield.cli.verb import PriorVerb, check_prompt
from scorefield.sds.judges import ClipJudge, PromptJudge, WorldJudge


@dataclass(frozen=True, kw_only=True)
class JudgingVerb(PriorVerb):
    """A verb that makes a list of prompts and judges what came of them."""

    prompts: Path
    """Text file with one prompt per line; empty lines and those that begin with # do not count."""
    judge: Path | None = None
    """The judge's weights; None takes the embedded one."""
    clip_model: str | None = None
    """Judge by this CLIP (folder or hub id) instead; prompts may then be about anything."""


def judge_of_prompts(verb: JudgingVerb, prompts: Sequence[str]) -> PromptJudge:
    """The judge that a verb names.

    Raises:
        ValueError: it cannot be loaded.
    """
    if verb.clip_model is None:
        return WorldJudge(load_judge(verb.judge))
    return ClipJudge.load(verb.clip_model, prompts)


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
