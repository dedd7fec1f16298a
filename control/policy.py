"""What rollouts know of a policy."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from scorefield.control.spaces import Horizons, PolicySpaces


@runtime_checkable
class Policy(Protocol):
    """Plans chunks of actions from what was observed.

    spaces: of the environments it acts in.
    horizons: how many observations it takes, and actions it gives.
    """

    spaces: PolicySpaces
    horizons: Horizons

    def act(
        self,
        observations: Mapping[str, Tensor],
        *,
        seed: int,
        items: Sequence[int],
        draw: int = 0,
        previous: Tensor | None = None,
    ) -> Float[Tensor, "batch actions size"]:
        """The next Ta actions, in the environment's units and within its bounds.

        Args:
            observations: "state" (B, To, D) in the environment's units, and per camera
                (B, To, 3, H, W) in [0, 1].
            seed: of the policy's noise.
            items: what each row is; its noise depends on (seed, item, draw) alone.
            draw: counts the chunks of an episode.
            previous: (B, Tp, A), the whole chunk before this one, for policies that go on from it.
        """
        ...
