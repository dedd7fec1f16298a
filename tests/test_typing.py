"""Type checkers see the package: a wrong argument and a misspelt function of ours are found."""

import subprocess
import sys
from pathlib import Path

USER = """
from scorefield import load_prior
from scorefield.priors import GaussianMixturePrior, sample

load_prior(3)
load_prior("shapes").guidedd("a red chair")
reveal_type(sample)  # Any, if the package were not seen
reveal_type(GaussianMixturePrior)
"""


def test_mypy_finds_mistakes_in_a_users_file(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    root = Path(__file__).parents[1]
    settings = ["--config-file", str(root / "pyproject.toml"), "--cache-dir", root / ".mypy_cache"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout
    assert 'Argument 1 to "load_prior" has incompatible type "int"' in found
    assert 'has no attribute "guidedd"' in found
    assert 'Revealed type is "Any"' not in found
