"""Type checkers see the package: a wrong argument and a misspelt function of ours are found."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from source_copy import ROOT, copy_sources

USER = """
from scorefield import load_prior
from scorefield.priors import GaussianMixturePrior, sample
from scorefield.sds import distil

load_prior(3)
load_prior("shapes").guidedd("a red chair")
reveal_type(sample)  # Any, if the package were not seen
reveal_type(GaussianMixturePrior)
"""
MYPY = (
    'Argument 1 to "load_prior" has incompatible type "int"',
    'has no attribute "guidedd"',
    'Module "scorefield.sds" has no attribute "distil"',
)
PYRIGHT = (
    'Argument of type "Literal[3]" cannot be assigned to parameter "source"',
    'Cannot access attribute "guidedd" for class "FrozenPrior"',
    '"distil" is unknown import symbol',
    'Type of "sample" is "(denoiser: Denoiser',
)


def said(folder: Path, *words: str | Path) -> str:
    """What a checker says of the user's file, in one line."""
    (folder / "user.py").write_text(USER)
    command = [sys.executable, "-m", *map(str, words), "user.py"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return " ".join((found.stdout + found.stderr).split())


def mypy(folder: Path, *words: str | Path) -> None:
    found = said(folder, "mypy", *words)
    assert [one for one in MYPY if one not in found] == [], found
    assert 'Revealed type is "Any"' not in found


def pyright(folder: Path, python: str | Path) -> None:
    pytest.importorskip("pyright")
    found = said(folder, "pyright", "--pythonpath", python)
    assert [one for one in PYRIGHT if one not in found] == [], found


def test_mypy_finds_mistakes_with_the_settings_of_this_project(tmp_path: Path) -> None:
    cache = ROOT / ".mypy_cache"
    mypy(tmp_path, "--config-file", ROOT / "pyproject.toml", "--cache-dir", cache)


def test_pyright_finds_mistakes_beside_the_editable_install(tmp_path: Path) -> None:
    pyright(tmp_path, sys.executable)


@pytest.mark.slow
def test_mypy_finds_mistakes_beside_the_editable_install(tmp_path: Path) -> None:
    mypy(tmp_path, "--config-file=", "--cache-dir", ROOT / ".mypy_cache" / "user")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree: setuptools leaves its work beside pyproject.toml."""
    folder = tmp_path_factory.mktemp("source") / "scorefield"
    copy_sources(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "wheel"])
def test_checkers_find_mistakes_beside_an_install(way: str, source: Path, tmp_path: Path) -> None:
    """In an environment of its own, which finds everything but scorefield in this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    (packages,) = (tmp_path / "v").glob("lib/*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = tmp_path / "v" / "bin" / "python"
    pip = [sys.executable, "-m", "pip"]
    quick = ["-q", "--no-deps", "--no-build-isolation"]
    given = source
    if way == "wheel":
        subprocess.run([*pip, "wheel", *quick, "-w", tmp_path, source], check=True)
        (given,) = tmp_path.glob("scorefield-*.whl")
    subprocess.run([*pip, "--python", python, "install", *quick, given], check=True)
    where = [python, "-P", "-c", "import scorefield; print(scorefield.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(packages))
    pyright(tmp_path, python)
    cache = ROOT / ".mypy_cache" / "user"
    mypy(tmp_path, "--config-file=", "--cache-dir", cache, "--python-executable", python)
