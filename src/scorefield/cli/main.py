"""The entry point: finds the command, runs it, and turns what happened into an exit code.

0: done. 1: failed on the way, or done in part. 2: refused before starting. 130: Ctrl-C.
"""

import difflib
import inspect
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout

import scorefield
from scorefield.cli.command import Command, Failed, check_files
from scorefield.cli.commands import COMMANDS, GROUPS, Entry
from scorefield.cli.failures import failure_of, is_of_name
from scorefield.cli.launched import tells_errors
from scorefield.cli.parse_errors import line_of
from scorefield.domains import check_numbers
from scorefield.integrity import unverified


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (None: that of the process) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"scorefield {scorefield.__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(_usage(GROUPS), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    if name is None:
        return _unknown(words)
    return run_command(COMMANDS[name].load, words[len(name.split()) :], f"scorefield {name}")


def run_command(load: Callable[[], type[Command]], words: Sequence[str], program: str) -> int:
    """Run a command, also one that is not of this command line, and return its exit code.

    Args:
        load: gives the class whose fields are the options.
        words: the options as given.
        program: the command before them, for messages.
    """
    try:
        return _run(load, words, program)
    except SystemExit as end:  # how tyro ends after --help or an error
        try:
            sys.stdout.flush()
        except OSError as error:
            return _unheard(error, None)
        return end.code if isinstance(end.code, int) else 2


def _run(load: Callable[[], type[Command]], words: Sequence[str], program: str) -> int:
    debug = "--debug" in words
    command: Command | None = None  # until the words are understood
    # Read when the libraries are imported; their remarks are about nothing the user can change.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if "--quiet" in words:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        command = checked(load(), words, program)
        # A library that prints must not spoil the JSON.
        with (
            redirect_stdout(sys.stderr) if command.json else nullcontext(),
            unverified() if command.unverified else nullcontext(),
        ):
            outcome = command.run()
    except KeyboardInterrupt:
        resumable = hasattr(command, "resume")
        hint = "; the same command with --resume goes on" if resumable else ""
        return _complain(f"interrupted{hint}", 130, debug)
    except ValueError as error:
        return _complain(f"error: {_line(error)}", 2, debug)
    except Failed as failed:
        return _complain(f"error: {failed}", 1, debug)
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            return _unheard(error, command)
        if (failure := failure_of(error, command)) is not None:
            return _complain(f"error: {failure}", 2 if is_of_name(error) else 1, debug)
        more = "" if debug else " (--debug shows where)"
        return _complain(f"error: {type(error).__name__}: {_line(error)}{more}", 1, debug)
    if outcome.metrics:  # of several processes, the first one speaks
        try:
            said = json.dumps(outcome.metrics, indent=2) if command.json else outcome.lines
            print(said if isinstance(said, str) else "\n".join(said), flush=True)
        except OSError as error:
            return _unheard(error, command)
    if outcome.problem is not None:
        return _complain(f"error: done in part: {outcome.problem}", 1, False)
    return 0


def checked(command: type[Command], words: Sequence[str], program: str) -> Command:
    """The command that words say, when all that can be told before it begins has been checked.

    Args:
        command: the class whose fields are the options.
        words: the options as given.
        program: the command before them, for messages.

    Raises:
        ValueError: it is refused.
    """
    made = _parse(command, words, program)
    check_numbers(made, "--")
    made.check()
    check_files(made)
    return made


_EARLIER = {
    "--guidance": "--scale",
    "--picture-size": "--render-size",
    "--pictures": "--images",
    "--settle": "--refine-rate",
    "--renew-every": "--respawn-every",
    "--renew-until": "--respawn-until",
}
"""Options by the earlier names that people may have in their scripts."""


def _present(word: str) -> str:
    """A word of a command line, with an option's earlier name replaced."""
    name, equals, value = word.partition("=")
    return _EARLIER.get(name, name) + equals + value


def _parse(command: type[Command], words: Sequence[str], prog: str) -> Command:
    """The command as the words say it; tyro's box around an error becomes one line."""
    import tyro  # it takes longer than all that `scorefield --help` needs

    words = [_present(word) for word in words]
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            _own_options_first(command)
            made = tyro.cli(command, args=words, prog=prog, config=(tyro.conf.FlagCreatePairsOff,))
        typed = {word[2:].partition("=")[0].replace("_", "-") for word in words if word[:2] == "--"}
        object.__setattr__(made, "typed", frozenset(typed))  # frozen to all others
        return made
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(f"{line_of(told.getvalue())}; {prog} --help lists all options") from None


def _own_options_first(command: type[Command]) -> None:
    """Lets --help begin with what only this command has; dataclasses begin with the base's."""
    known = command.__dataclass_fields__
    names = [name for one in command.__mro__ for name in inspect.get_annotations(one)]
    command.__dataclass_fields__ = {name: known[name] for name in names if name in known}


def _unheard(error: OSError, command: Command | None) -> int:
    """Standard output takes no more: a reader that went away, a full disk."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nor at the end of the process
    return _complain(f"error: {failure_of(error, command)}", 1, False)


def _complain(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if tells_errors():
        print(f"scorefield: {message}", file=sys.stderr)
    return code


def _line(error: BaseException) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _unknown(words: Sequence[str]) -> int:
    """Answer a word that is no command: help of a group such as `policy`, or a refusal."""
    group = {name: entry for name, entry in COMMANDS.items() if name.split()[0] == words[0]}
    if group and words[1:2] in (["-h"], ["--help"]):
        print(_usage({words[0]: group}))
        return 0
    if group and len(words) == 1:
        choices = ", ".join(group)
        return _complain(f"error: {words[0]} is several commands: {choices}", 2, False)
    given = " ".join(words[:2] if group else words[:1])
    near = _neighbours(given, list(group or COMMANDS))
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return _complain(
        f"error: there is no command {given!r}; {hint}scorefield --help lists all", 2, False
    )


def _neighbours(given: str, names: Sequence[str]) -> list[str]:
    """Up to three commands that may have been meant, the nearest first.

    "train" is near to "policy train" by its last word, "text_to_3d" to "text-to-3d" by its letters.
    """
    word = given.lower().replace("_", "-")
    scores = {
        name: max(
            difflib.SequenceMatcher(None, word, part).ratio() for part in {name, *name.split()}
        )
        for name in names
    }
    best = max(scores.values())
    near = [name for name in names if scores[name] > max(0.6, best - 0.1)]
    return sorted(near, key=lambda name: -scores[name])[:3]


def _usage(groups: Mapping[str, Mapping[str, Entry]]) -> str:
    width = max(len(name) for group in groups.values() for name in group) + 2
    lines = []
    for title, group in groups.items():
        lines += [f"{title}:", *(f"  {name:<{width}}{one.does}" for name, one in group.items()), ""]
    return "\n".join(
        [
            "usage: scorefield COMMAND [OPTIONS]",
            "",
            (scorefield.__doc__ or "").partition("\n")[0],
            "",
            *lines,
            "scorefield COMMAND --help lists the options; scorefield --version tells the version.",
            "Exit codes: 0 done, 1 failed on the way or done in part, 2 refused before starting.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
