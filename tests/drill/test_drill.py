"""The drill finds the faults it is for; its short form finds none."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from damage import damage
from forks import Ended, fault_of
from ledger import Ledger, Tried, table


@pytest.mark.parametrize(
    ("code", "err", "fault"),
    [
        (0, "50%|#####", ""),
        (2, "scorefield: error: --n must be at least 1; got 0\n", ""),
        (1, "10%|#\rscorefield: error: NonFiniteError: loss not finite in step 3\n", ""),
        (1, "scorefield: error: KeyError: 'x' (--debug shows where)\n", "a foreign exception"),
        (1, "Traceback (most recent call last):\n  ...\nValueError: x\n", "a traceback"),
        (2, "error: x\n", "its last line is not ours"),
        (-11, "", "ended with -11"),
    ],
)
def test_how_a_command_may_end(code: int, err: str, fault: str) -> None:
    found = fault_of(Ended(code, "", err, 1.0))
    assert fault in found and bool(fault) == bool(found)


def test_what_is_late_is_a_fault() -> None:
    assert "not over" in fault_of(Ended(-9, "", "", 120.0, late=True))


def test_the_ledger_goes_on_and_the_table_adds_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "tries.jsonl")
    tries = [Tried("files", 0, "", 1.0), Tried("files", 1, "hangs", 2.0)]
    tries.append(Tried("kills", 0, "", 4.0, 8.0))
    for one in tries:
        ledger.add(one)
    with ledger.path.open("a") as file:
        file.write('{"part": "kil')  # cut off by a kill
    assert ledger.read() == tries
    text = table(tries, {"kills": "k", "files": "f"})
    rows = ["| kills | k | 1 | 1 | 0 | 4 | 8 |", "| files | f | 2 | 1 | 1 | 3 | 0 |"]
    assert "\n".join([*rows, "| all |  | 3 | 2 | 1 | 7 | 8 |"]) in text
    assert text.endswith("- files 1: hangs\n")


def test_damage_depends_on_the_chance_alone(tmp_path: Path) -> None:
    file, found = tmp_path / "a.json", []
    for _ in range(2):
        for seed in range(40):
            file.write_text('{"a": [1, {"b": "x"}], "c": null}')
            damage(file, random.Random(seed))
            found.append(file.read_bytes() if file.exists() else None)
    assert found[:40] == found[40:] and len(set(found)) > 20


@pytest.mark.slow
def test_the_short_form_is_clean(tmp_path: Path) -> None:
    words = [sys.executable, str(Path(__file__).parent), "--fast", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
