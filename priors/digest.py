"""What tells a prior from another one of its name."""

import hashlib

import torch
from torch import nn

from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.prior import ImagePrior

__all__ = ["prior_digest"]

_VALUES = 16  # of every weight
_FRACTIONS = (0.25, 0.5, 0.75)


def prior_digest(prior: ImagePrior) -> str:
    """A digest of a prior's network and codec, of their scaling and of the schedule.

    Of every weight its name, shape, dtype and 16 of its values count: weights that were trained on
    or merged with others differ in almost all values, and reading all of them would take longer
    than the network does. Of the schedule its log-SNRs to one decimal, which are the same on every
    machine. A prior that is no network is known by its name, its codec and its schedule.
    """
    digest = hashlib.blake2b(digest_size=16)
    codec = vars(prior.codec)
    parts = [value for value in codec.values() if isinstance(value, nn.Module)]
    numbers = {name: value for name, value in codec.items() if isinstance(value, int | float)}
    levels = [f"{float(prior.schedule.at_fraction(one).log_snr):.1f}" for one in _FRACTIONS]
    said = [type(prior.schedule).__name__, levels, sorted(numbers.items())]
    if isinstance(prior, FrozenPrior):
        said.append(type(prior.model).__name__)
        parts.append(prior.network)
    else:
        said.append(prior.name)
    digest.update(repr(said).encode())
    for part in parts:
        # a compiled network is the network that it was compiled from
        state = {name.replace("_orig_mod.", ""): v for name, v in part.state_dict().items()}
        for name, values in state.items():
            digest.update(f"{name}{tuple(values.shape)}{values.dtype}".encode())
        step = [max(1, v.numel() // _VALUES) for v in state.values()]
        samples = [v.reshape(-1)[::s].float() for v, s in zip(state.values(), step, strict=True)]
        if samples:
            digest.update(torch.cat(samples).cpu().numpy().tobytes())
    return digest.hexdigest()
