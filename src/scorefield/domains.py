"""What numbers may be, stated in the types of settings and checked before anything starts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin


@dataclass(frozen=True)
class Domain:
    """Numbers from `least` to `most`, both included unless `open`: then `least` is not."""

    least: float = -math.inf
    most: float = math.inf
    open: bool = False

    def holds(self, number: float | int) -> bool:
        """Whether a number belongs to it; NaN and infinities never do."""
        value = float(number)
        inside = self.least < value if self.open else self.least <= value
        return math.isfinite(value) and inside and value <= self.most

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"between {self.least:g} and {self.most:g}"
        if self.open:
            return f"above {self.least:g}"
        return f"at least {self.least:g}" if self.least > -math.inf else "a finite number"


Count = Annotated[int, Domain(1.0)]
"""How many of something that there must be."""
Whole = Annotated[int, Domain(0.0)]
"""How many of something that there may be."""
Positive = Annotated[float, Domain(0.0, open=True)]
NotNegative = Annotated[float, Domain(0.0)]
Share = Annotated[float, Domain(0.0, 1.0)]

_FINITE = Domain()


def check_numbers(settings: Any, before: str = "") -> None:
    """Refuse numbers outside the domains of their fields, also in settings within and in tuples.

    A field without a domain must still be finite, and one of whole numbers takes no others.

    Args:
        settings: a dataclass.
        before: goes before the names in messages; "--" for options of a command.

    Raises:
        ValueError: the first such field is named, with what it may be.
    """
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value) and not isinstance(value, type):
            check_numbers(value, f"{before}{one.name}.")
            continue
        domain = next(_domains(one.type), _FINITE)
        kinds = list(_kinds(one.type))
        name = one.name.replace("_", "-") if before.startswith("--") else one.name
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int | float) and not domain.holds(number):
                raise ValueError(f"{before}{name} must be {domain}; got {number}")
            if isinstance(number, float) and int in kinds and float not in kinds:
                raise ValueError(f"{before}{name} must be a whole number; got {number}")


def _domains(hint: Any) -> Iterator[Domain]:
    """Those in a type, such as `Count | None` or `tuple[Share, ...]`."""
    if get_origin(hint) is Annotated:
        yield from (one for one in hint.__metadata__ if isinstance(one, Domain))
    for inner in get_args(hint):
        yield from _domains(inner)


def _kinds(hint: Any) -> Iterator[Any]:
    """The types that a type is made of, such as int and None of `Count | None`."""
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    if not inner:
        yield hint
    for one in inner:
        yield from _kinds(one)
