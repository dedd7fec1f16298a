"""What is installed is what is in the tree."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from source_copy import ROOT, SUBSYSTEMS, copy_sources

import scorefield
from scorefield.runs.folder import RunFolder

WEIGHT_SUFFIXES = {".safetensors", ".json", ".txt", ".md", ".sha256"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def test_every_package_of_the_tree_is_listed(pyproject: dict[str, Any]) -> None:
    folders = [
        init.parent.relative_to(ROOT)
        for subsystem in SUBSYSTEMS
        for init in (ROOT / subsystem).rglob("__init__.py")
    ]
    folders += [init.parent.relative_to(ROOT / "src" / "scorefield") for init in root_inits()]
    found = {"scorefield"} | {".".join(("scorefield", *folder.parts)) for folder in folders}
    assert found == set(pyproject["tool"]["setuptools"]["packages"])


def root_inits() -> list[Path]:
    return list((ROOT / "src" / "scorefield").rglob("__init__.py"))


def test_every_module_is_in_a_package() -> None:
    for folder in (*SUBSYSTEMS, "src/scorefield"):
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module} is in no package"


def test_one_version(pyproject: dict[str, Any]) -> None:
    stated = pyproject["project"]["version"]
    assert scorefield.__version__ == stated
    assert version("scorefield") == stated
    assert f"## {stated}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_generic_top_level_name_is_installed(pyproject: dict[str, Any]) -> None:
    for package in pyproject["tool"]["setuptools"]["packages"]:
        assert package.split(".")[0] == "scorefield"


def test_the_command_is_declared() -> None:
    (script,) = entry_points(group="console_scripts", name="scorefield")
    assert script.value == "scorefield.cli.main:main"


def test_shapes_and_types_are_checked_while_the_tests_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    with pytest.raises(jaxtyping.TypeCheckError):
        folder.preview_path("not a step")  # type: ignore[arg-type]


def test_constraints_pin_every_direct_dependency(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *optional["test"], *optional["dev"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    wanted = {requirement.partition(">=")[0].partition("==")[0] for requirement in requirements}
    assert wanted <= pinned
    for exact in optional["dev"]:
        assert exact in lines


def test_the_wheel_holds_every_module_and_the_embedded_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
    # Built from a copy: setuptools leaves its work beside pyproject.toml, and would pick up
    # modules that were there at the build before.
    source = tmp_path / "source"
    copy_sources(source)
    subprocess.run(
        [*command, "--no-build-isolation", "-w", str(tmp_path), str(source)],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("scorefield-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= expected_files()
    assert "scorefield/py.typed" in names
    assert {name.split("/")[0] for name in names} == {
        "scorefield",
        f"scorefield-{scorefield.__version__}.dist-info",
    }


def expected_files() -> set[str]:
    found = set()
    for folder in SUBSYSTEMS:
        for path in (ROOT / folder).rglob("*"):
            weight = "weights" in path.parts and path.suffix in WEIGHT_SUFFIXES
            if path.suffix in (".py", ".pyi") or weight:
                found.add(f"scorefield/{path.relative_to(ROOT).as_posix()}")
    for path in (ROOT / "src").rglob("*"):
        weight = "weights" in path.parts and path.suffix in WEIGHT_SUFFIXES
        if path.suffix in (".py", ".pyi") or weight:
            found.add(path.relative_to(ROOT / "src").as_posix())
    return found


def test_the_embedded_weights_are_small_and_no_pickles() -> None:
    folders = [ROOT / "priors" / "weights", ROOT / "src" / "scorefield" / "world" / "weights"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert {path.suffix for path in files} <= WEIGHT_SUFFIXES
    assert sum(path.stat().st_size for path in files) < 64 * 2**20
