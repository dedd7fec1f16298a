"""The page about a robot of one's own: its code runs as it stands, with a shorter training."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "own-robot.md"


def run(steps: int) -> dict[str, object]:
    """The names that the page's code leaves behind."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    code = "\n".join(blocks)
    assert "steps=3000" in code
    names: dict[str, object] = {}
    exec(code.replace("steps=3000", f"steps={steps}"), names)
    return names


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(steps=4)
    assert np.shape(names["actions"]) == (8, 2)
    assert isinstance(names["difference"], float) and names["difference"] < 1e-4


@pytest.mark.slow
def test_the_hand_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An action moves the hand by 0.1 at most, and it begins 1.2 away from its goal.
    monkeypatch.chdir(tmp_path)
    names = run(steps=600)
    way = np.asarray(names["hand"]) - np.asarray(names["goal"])
    assert np.linalg.norm(way) < 0.15
