"""The lowest versions are read off the requirements as pip reads them."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from packaging.requirements import Requirement

spec = spec_from_file_location("bounds", Path(__file__).parent / "bounds.py")
assert spec is not None and spec.loader is not None
bounds = module_from_spec(spec)
spec.loader.exec_module(bounds)


def test_the_lowest_of_several_is_what_all_allow() -> None:
    found = bounds.lowest(["a>=1.9,<3", "b", "a>=1.10", "c<7", "d[x]>=0.2 ; python_version>'3'"])
    assert found == {"a": "1.10", "d": "0.2"}


def test_every_lowest_version_is_allowed() -> None:
    found = bounds.lowest(bounds.direct())
    for requirement in map(Requirement, bounds.direct()):
        if requirement.name in found:
            assert requirement.specifier.contains(found[requirement.name]), requirement
