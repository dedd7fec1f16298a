"""The entry point: finds the verb, runs it, and turns what happened into an exit code.

0: done. 1: failed on the way, or done in part. 2: refused before starting. 130: Ctrl-C.
"""

import difflib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout

import tyro

import scorefield
from scorefield.cli.verb import Failed, Verb


# Each verb is imported when it is asked for: torch takes seconds, and --help should not.
def _sample() -> type[Verb]:
    from scorefield.cli.sample import Sample

    return Sample


def _compose() -> type[Verb]:
    from scorefield.cli.compose import Compose

    return Compose


def _edit() -> type[Verb]:
    from scorefield.cli.edit import Edit

    return Edit


def _invert() -> type[Verb]:
    from scorefield.cli.invert import Invert

    return Invert


def _text_to_3d() -> type[Verb]:
    from scorefield.cli.text_to_3d import TextTo3DVerb

    return TextTo3DVerb


def _text_to_svg() -> type[Verb]:
    from scorefield.cli.text_to_svg import TextToSvgVerb

    return TextToSvgVerb


def _text_to_video() -> type[Verb]:
    from scorefield.cli.text_to_video import TextToVideo

    return TextToVideo


def _train_shapes() -> type[Verb]:
    from scorefield.cli.train_prior import TrainShapes

    return TrainShapes


def _train_judge() -> type[Verb]:
    from scorefield.cli.train_prior import TrainJudge

    return TrainJudge


def _train_digits() -> type[Verb]:
    from scorefield.cli.train_prior import TrainDigits

    return TrainDigits


def _train_motion_broad() -> type[Verb]:
    from scorefield.cli.train_prior import TrainMotionBroad

    return TrainMotionBroad


def _train_motion_narrow() -> type[Verb]:
    from scorefield.cli.train_prior import TrainMotionNarrow

    return TrainMotionNarrow


def _evaluate_prior() -> type[Verb]:
    from scorefield.cli.evaluate import EvaluatePrior

    return EvaluatePrior


def _evaluate_text_to_svg() -> type[Verb]:
    from scorefield.cli.evaluate_drawings import EvaluateTextToSvg

    return EvaluateTextToSvg


def _evaluate_text_to_3d() -> type[Verb]:
    from scorefield.cli.evaluate import EvaluateTextTo3D

    return EvaluateTextTo3D


def _energy() -> type[Verb]:
    from scorefield.cli.energy import Energy

    return Energy


def _info() -> type[Verb]:
    from scorefield.cli.info import Info

    return Info


def _features() -> type[Verb]:
    from scorefield.cli.features import Features

    return Features


def _match() -> type[Verb]:
    from scorefield.cli.match import Match

    return Match


def _segment() -> type[Verb]:
    from scorefield.cli.segment import Segment

    return Segment


def _classify() -> type[Verb]:
    from scorefield.cli.classify import Classify

    return Classify


def _rank() -> type[Verb]:
    from scorefield.cli.rank import Rank

    return Rank


def _policy_collect() -> type[Verb]:
    from scorefield.cli.policy_collect import PolicyCollect

    return PolicyCollect


def _policy_train() -> type[Verb]:
    from scorefield.cli.policy_train import PolicyTrain

    return PolicyTrain


def _policy_evaluate() -> type[Verb]:
    from scorefield.cli.policy_evaluate import PolicyEvaluate

    return PolicyEvaluate


def _policy_export() -> type[Verb]:
    from scorefield.cli.policy_export import PolicyExport

    return PolicyExport


VERBS: dict[str, tuple[Callable[[], type[Verb]], str]] = {
    "sample": (_sample, "pictures of prompts, on one sheet"),
    "compose": (_compose, "pictures that several prompts hold for, and others do not"),
    "edit": (_edit, "a picture that exists, changed to a prompt"),
    "invert": (_invert, "the noise that a picture is made from"),
    "text-to-3d": (_text_to_3d, "a 3D object from a prompt: mesh, turntable, views"),
    "text-to-svg": (_text_to_svg, "a vector drawing from a prompt: SVG, PNG, animation"),
    "text-to-video": (_text_to_video, "short clips of a prompt, by one prior or by two"),
    "features": (_features, "what layers of a prior see in pictures, as files"),
    "match": (_match, "where the points of one picture are in another"),
    "segment": (_segment, "which pixels of a picture belong together"),
    "classify": (_classify, "which of some labels pictures show"),
    "rank": (_rank, "pictures by how well they fit a text"),
    "train-prior shapes": (_train_shapes, "train the embedded text-to-image prior"),
    "train-prior judge": (_train_judge, "train the classifier that evaluations ask"),
    "train-prior digits": (_train_digits, "train the embedded prior of handwritten digits"),
    "train-prior motion-broad": (_train_motion_broad, "train the embedded prior of clips"),
    "train-prior motion-narrow": (_train_motion_narrow, "train the one of a single domain"),
    "policy collect": (_policy_collect, "demonstrations of an expert in an environment"),
    "policy train": (_policy_train, "a policy from demonstrations"),
    "policy evaluate": (_policy_evaluate, "let a policy act, and score it"),
    "policy export": (_policy_export, "a policy as ONNX, for robots that have no torch"),
    "energy": (_energy, "how likely a prior finds pictures, by three methods"),
    "info": (_info, "what a prior is, and what its layers put out and cost"),
    "evaluate prior": (_evaluate_prior, "score the samples of a prior"),
    "evaluate text-to-3d": (_evaluate_text_to_3d, "make and score a list of prompts"),
    "evaluate text-to-svg": (_evaluate_text_to_svg, "draw and score a list of prompts"),
}
"""What loads each verb, and what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (None: that of the process) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"scorefield {scorefield.__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(_usage(VERBS), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    name = next((name for name in VERBS if words[: len(name.split())] == name.split()), None)
    if name is None:
        return _unknown(words)
    return run_verb(VERBS[name][0], words[len(name.split()) :], f"scorefield {name}")


def run_verb(load: Callable[[], type[Verb]], words: Sequence[str], program: str) -> int:
    """Run a verb, also one that is not of this command line, and return its exit code.

    Args:
        load: gives the class whose fields are the options.
        words: the options as given.
        program: the command before them, for messages.
    """
    try:
        return _run(load, words, program)
    except SystemExit as end:  # how tyro ends after --help or an error
        return end.code if isinstance(end.code, int) else 2


def _run(load: Callable[[], type[Verb]], words: Sequence[str], program: str) -> int:
    debug = "--debug" in words
    resumable = False
    # Read when the libraries are imported; their remarks are about nothing the user can change.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if "--quiet" in words:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        verb = _parse(load(), words, program)
        resumable = hasattr(verb, "resume")
        # A library that prints must not spoil the JSON.
        with redirect_stdout(sys.stderr) if verb.json else nullcontext():
            outcome = verb.run()
    except KeyboardInterrupt:
        hint = "; the same command with --resume goes on" if resumable else ""
        return _complain(f"interrupted{hint}", 130, debug)
    except ValueError as error:
        return _complain(f"error: {_line(error)}", 2, debug)
    except Failed as failed:
        return _complain(f"error: {failed}", 1, debug)
    except Exception as error:
        more = "" if debug else " (--debug shows where)"
        return _complain(f"error: {type(error).__name__}: {_line(error)}{more}", 1, debug)
    if outcome.figures:  # of several processes, the first one speaks
        print(json.dumps(outcome.figures, indent=2) if verb.json else "\n".join(outcome.lines))
    if outcome.problem is not None:
        return _complain(f"error: done in part: {outcome.problem}", 1, False)
    return 0


def _parse(verb: type[Verb], words: Sequence[str], prog: str) -> Verb:
    """The verb as the words say it; tyro's box around an error becomes one line."""
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(
                verb, args=list(words), prog=prog, config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(f"{_unboxed(told.getvalue())}; {prog} --help lists all options") from None


def _unboxed(text: str) -> str:
    """The first paragraph in a box and, if the second is a suggestion, its first option.

    tyro puts the title into the box's upper edge or, in ASCII, into a paragraph of its own.
    """
    lines = [line.strip("│ ") for line in text.splitlines() if not line.startswith("╭")]
    body = "\n".join("" if set(line) <= set("╰─-╯") else line for line in lines)
    paragraphs = [part.split("\n") for part in body.strip().split("\n\n")]
    if "│" not in text and len(paragraphs) > 1:
        del paragraphs[0]
    said = " ".join(" ".join(paragraphs[0]).split()).rstrip(".")
    if len(paragraphs) > 1 and paragraphs[1][0].startswith("Perhaps you meant"):
        said += f"; perhaps you meant {paragraphs[1][1].strip()}"
    return said


def _complain(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"scorefield: {message}", file=sys.stderr)
    return code


def _line(error: BaseException) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _unknown(words: Sequence[str]) -> int:
    group = {name: verb for name, verb in VERBS.items() if name.split()[0] == words[0]}
    if group and words[1:2] in (["-h"], ["--help"]):
        print(_usage(group))
        return 0
    given = " ".join(words[:2] if group else words[:1])
    near = difflib.get_close_matches(given, group or VERBS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    choices = ", ".join(group or VERBS)
    return _complain(f"error: there is no verb {given!r}; {hint}There are: {choices}", 2, False)


def _usage(verbs: dict[str, tuple[Callable[[], type[Verb]], str]]) -> str:
    width = max(map(len, verbs)) + 2
    lines = [f"  {name:<{width}}{does}" for name, (_, does) in verbs.items()]
    return "\n".join(
        [
            "usage: scorefield VERB [OPTIONS]",
            "",
            scorefield.__doc__ or "",
            "",
            *lines,
            "",
            "scorefield VERB --help lists a verb's options; scorefield --version the version.",
            "Exit codes: 0 done, 1 failed on the way or done in part, 2 refused before starting.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
