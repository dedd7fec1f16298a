"""How dense demonstrations are."""

import torch

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.windows import Windows

_ASKED, _AMONG = 500, 20_000  # windows


def spacing(windows: Windows, states: Normalizer | None) -> float:
    """Median way from what a window observes to the nearest that another episode observes.

    Args:
        windows: of the demonstrations; of many, some are looked at, at equal distances.
        states: the normalizer of the states, in whose units the way is; None: they are not seen.

    Returns:
        The Euclidean length over all To observations; 1, half of the range, where it cannot be
        told: of images, or of a single episode.
    """
    if states is None or len(windows.episodes) < 2:
        return 1.0
    chosen = [
        torch.linspace(0, len(windows) - 1, min(most, len(windows))).round().long()
        for most in (_ASKED, _AMONG)
    ]
    seen = [states(windows.states(indices)).flatten(1) for indices in chosen]
    of = [torch.from_numpy(windows.episode_of(indices)) for indices in chosen]
    ways = torch.cdist(*seen).masked_fill(of[0][:, None] == of[1], torch.inf)
    return float(ways.amin(dim=1).median())
