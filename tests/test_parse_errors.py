"""What is wrong with a command line is told in one plain line, on every terminal."""

import pytest

from scorefield.cli.commands import COMMANDS
from scorefield.cli.main import _parse, main


def told(command: str, *words: str) -> str:
    with pytest.raises(ValueError) as refusal:
        _parse(COMMANDS[command].load(), words, f"scorefield {command}")
    return str(refusal.value)


@pytest.mark.parametrize("columns", ["30", "80", "400"])
def test_missing_options_come_with_their_help(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert told("policy collect") == (
        "Missing: ENVIRONMENT (Environment to demonstrate in, such as two-routes; a wrong name "
        "lists all); --out PATH (Folder of the episodes, new or empty); "
        "scorefield policy collect --help lists all options"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--out", "r", "--steps", "x"], "Error parsing --steps: 'x' is not a whole number;"),
        (["a", "--out", "r", "--scale", "1.x"], "Error parsing --scale: '1.x' is not a number;"),
        (["a", "red", "cup", "--out", "r"], "red, cup; put a text of several words in quotes;"),
        (["a", "--out", "r", "--seeed", "1"], "perhaps you meant --seed INT;"),
    ],
)
def test_what_is_misspelt_is_named_in_plain_words(words: list[str], message: str) -> None:
    assert message in told("text-to-3d", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classify", "--labels", "a", "b"], 'with commas between, such as "duck,boat"; got "a"'),
        (
            ["classify", "no.png", "--labels", "a,b"],
            "no.png: there is no such file; IMAGE",
        ),
        (["policy", "train", "no", "--out", "r"], "no such file; DEMONSTRATIONS must name one"),
        (
            ["sample", "a cup", "--controlnet", "no", "--control-image", "no"],
            "no such file; --controlnet must name one to read",
        ),
    ],
)
def test_what_a_file_was_given_for_is_named_as_by_help(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
