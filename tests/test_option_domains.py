"""Numbers that mean nothing are refused before anything starts, by every option."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from scorefield.cli.commands import COMMANDS
from scorefield.control.networks.settings import EncoderSettings
from scorefield.domains import Count, Domain, Positive, Share, check_numbers
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.svg.settings import TextToSvgSettings


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Share = 0.5


@dataclasses.dataclass(frozen=True)
class Options:
    n: Count = 1
    rate: Positive | None = None
    pair: tuple[float, float] = (-1.0, 1.0)
    inner: Inner = Inner()
    flag: bool = False
    name: str = "nan"


def test_numbers_inside_their_domains_pass() -> None:
    check_numbers(Options())
    check_numbers(Options(n=5, rate=1e-9, pair=(-1e9, 0.0), inner=Inner(1.0), flag=True))


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"n": 0}, r"--n must be at least 1; got 0"),
        ({"rate": 0.0}, r"--rate must be above 0; got 0\.0"),
        ({"pair": (0.0, math.inf)}, r"--pair must be a finite number; got inf"),
        ({"inner": Inner(1.5)}, r"--inner\.share must be between 0 and 1; got 1\.5"),
        ({"inner": Inner(math.nan)}, r"--inner\.share must be between 0 and 1; got nan"),
    ],
)
def test_others_are_named(changed: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        check_numbers(Options(**changed), "--")


OF_SETTINGS = {
    one.name
    for settings in (TextTo3DSettings, TextToSvgSettings, EncoderSettings)
    for one in dataclasses.fields(settings)
}
"""Options that the settings check themselves."""


def numbers_of(command: type[Any]) -> Iterator[tuple[str, Any]]:
    """The options of a command that are numbers, with their types."""
    hints = get_type_hints(command, include_extras=True)
    for one in dataclasses.fields(command):
        if parts(hints[one.name]) & {int, float}:
            yield one.name, hints[one.name]


def parts(hint: Any) -> set[Any]:
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return {hint, *(part for one in inner for part in parts(one))}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_what_is_not_a_number(name: str) -> None:
    command = COMMANDS[name].load()
    for option, hint in numbers_of(command):
        bare = object.__new__(command)
        for one in dataclasses.fields(command):
            object.__setattr__(bare, one.name, None)
        for nonsense in (math.nan, math.inf, -math.inf):
            object.__setattr__(bare, option, nonsense)
            with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} must be"):
                check_numbers(bare, "--")
        if int in parts(hint) and option not in OF_SETTINGS:
            assert domain_of(hint) is not None, f"{name} --{option} has no domain"


@pytest.mark.parametrize("settings", [TextTo3DSettings, TextToSvgSettings, EncoderSettings])
def test_settings_refuse_numbers_below_nothing(settings: type[Any]) -> None:
    prompt = {"prompt": "a cup"} if "prompt" in settings.__dataclass_fields__ else {}
    settings(**prompt)
    counts = [one.name for one in dataclasses.fields(settings) if one.type is int]
    for option in counts:
        if option != "seed":
            with pytest.raises(ValueError, match=option):
                settings(**prompt, **{option: -1})


def domain_of(hint: Any) -> Domain | None:
    if get_origin(hint) is Annotated:
        for one in hint.__metadata__:
            if isinstance(one, Domain):
                return one
    return next(filter(None, map(domain_of, get_args(hint))), None)
