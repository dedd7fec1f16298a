"""What a policy sees and does: the sizes, bounds and horizons that both sides must agree on."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from scorefield.control.data.episodes import Episodes


@dataclass(frozen=True)
class Horizons:
    """How far a policy looks back and plans, in steps.

    n_obs_steps: To, how many observations it sees, the present one being the last.
    n_action_steps: Ta, how many actions of a plan are executed.
    horizon: Tp, how many actions are predicted. The first goes with the first observation, so
        that the executed ones are [To - 1 : To - 1 + Ta] (Chi et al. 2023).
    """

    n_obs_steps: int = 2
    n_action_steps: int = 8
    horizon: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        if self.n_obs_steps - 1 + self.n_action_steps > self.horizon:
            raise ValueError(
                f"actions {self.executed.start} to {self.executed.stop} are "
                f"executed, but only {self.horizon} are predicted; predict more or execute fewer"
            )

    @property
    def executed(self) -> slice:
        """The actions of a plan that are executed."""
        return slice(self.n_obs_steps - 1, self.n_obs_steps - 1 + self.n_action_steps)


@dataclass(frozen=True)
class PolicySpaces:
    """What an environment shows and takes.

    state: numbers in the state, D; 0 for none.
    images: height and width of the images, by camera.
    action: numbers in an action, A.
    low, high: bounds of every number of an action, in the environment's units.
    rate: steps per second; None if unknown.
    tasks: texts that the last numbers of the state tell, one each (`tasks.with_tasks`).
    """

    state: int
    action: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    images: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rate: float | None = None
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "low", tuple(float(bound) for bound in self.low))
        object.__setattr__(self, "high", tuple(float(bound) for bound in self.high))
        sizes = {name: (int(h), int(w)) for name, (h, w) in sorted(self.images.items())}
        object.__setattr__(self, "images", sizes)
        if taken := {"state", "action"} & set(self.images):
            raise ValueError(f"a camera cannot be called {taken.pop()}, as another observation is")
        if len(self.tasks) > self.state:
            raise ValueError(f"{len(self.tasks)} tasks do not fit a state of {self.state} numbers")
        if self.state < 0 or self.action < 1 or (self.state == 0 and not self.images):
            raise ValueError(
                f"a policy needs something to see and to do: the state has {self.state} numbers, "
                f"there are {len(self.images)} cameras, and an action has {self.action} numbers"
            )
        if len(self.low) != self.action or len(self.high) != self.action:
            raise ValueError(
                f"an action has {self.action} numbers, low {len(self.low)}, high {len(self.high)}"
            )
        for low, high in zip(self.low, self.high, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"bounds of actions must be finite and low < high; got {low:g} and {high:g}"
                )

    def check(self, other: "PolicySpaces") -> None:
        """Refuses an environment in which a policy of these spaces cannot act.

        It may show more cameras than the policy looks at, and a state where the policy looks at
        none, and take actions beyond the policy's bounds.

        Raises:
            ValueError: a size or the rate differs, a camera is missing, or the policy's bounds
                reach beyond the environment's; both are shown. A rate that is unknown agrees with
                any.
        """
        inside = self.action == other.action and all(
            low - slack <= mine_low and mine_high <= high + slack
            for mine_low, mine_high, low, high, slack in zip(
                self.low,
                self.high,
                other.low,
                other.high,
                [1e-4 * (b - a) for a, b in zip(other.low, other.high, strict=True)],
                strict=True,
            )
        )
        fits = {
            "state": self.state in (0, other.state),
            "images": all(other.images.get(name) == size for name, size in self.images.items()),
            "action": self.action == other.action,
            "low": inside or self.low == other.low,
            "high": inside or self.high == other.high,
            "rate": None in (self.rate, other.rate) or self.rate == other.rate,
        }
        names = [name for name, holds in fits.items() if not holds]
        if names:
            raise ValueError(
                f"the policy and the environment differ in {', '.join(names)}: the policy has "
                f"{json.dumps(self.as_json())}, the environment {json.dumps(other.as_json())}"
            )

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; `from_json` is the inverse."""
        return {
            "state": self.state,
            "images": {name: list(size) for name, size in self.images.items()},
            "action": self.action,
            "low": list(self.low),
            "high": list(self.high),
            "rate": self.rate,
            **({"tasks": list(self.tasks)} if self.tasks else {}),
        }

    @classmethod
    def of(
        cls,
        episodes: Episodes,
        *,
        low: float | int | Sequence[float] | None = None,
        high: float | int | Sequence[float] | None = None,
        state: bool = True,
        tasks: Sequence[str] = (),
    ) -> "PolicySpaces":
        """The spaces of demonstrations, for a robot that no environment describes.

        Args:
            episodes: what was observed and done.
            low: least values of an action's numbers, one each or one for all; None: the least that
                the demonstrations hold. A number that never changes gets a thousandth of its size
                to both sides, for bounds must differ.
            high: the greatest values, likewise.
            state: whether the policy sees the state, and not the cameras alone.
            tasks: the texts that the states end in, if they do (`tasks.with_tasks`).

        Raises:
            ValueError: there are not as many bounds as numbers, or low is not below high.
        """
        least, most = episodes.action.min(axis=0), episodes.action.max(axis=0)
        room = [
            1e-3 * max(1.0, abs(float(a))) if a == b else 0.0
            for a, b in zip(least, most, strict=True)
        ]
        size = len(room)
        return cls(
            state=episodes.state.shape[1] if state else 0,
            images={name: array.shape[1:3] for name, array in episodes.cameras.items()},
            action=size,
            low=_bounds("low", low, [float(a) - r for a, r in zip(least, room, strict=True)]),
            high=_bounds("high", high, [float(b) + r for b, r in zip(most, room, strict=True)]),
            rate=episodes.rate,
            tasks=tuple(tasks),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PolicySpaces":
        """Inverse of `as_json`.

        Raises:
            ValueError: something is missing or of another kind.
        """
        try:
            return cls(
                state=int(values["state"]),
                images={name: (size[0], size[1]) for name, size in values["images"].items()},
                action=int(values["action"]),
                low=tuple(values["low"]),
                high=tuple(values["high"]),
                rate=None if values["rate"] is None else float(values["rate"]),
                tasks=tuple(str(text) for text in values.get("tasks", ())),
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"spaces cannot be read from {dict(values)}: {error!r}") from error


def _bounds(
    name: str, given: float | int | Sequence[float] | None, found: Sequence[float]
) -> tuple[float, ...]:
    if given is None:
        return tuple(found)
    bounds = np.atleast_1d(np.asarray(given, dtype=float))
    if bounds.shape not in ((1,), (len(found),)):
        raise ValueError(
            f"{name} has {bounds.size} numbers, an action {len(found)}; give one for each, or one "
            "for all"
        )
    return tuple(np.broadcast_to(bounds, len(found)).tolist())
