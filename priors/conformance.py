"""What every prior owes to those that use it, as checks that any prior can be put to.

Samplers, objectives and compositions rely on laws that a wrapper of a network breaks easily and
quietly: that items of a batch do not see each other, that nothing is remembered between calls, that
the level is that of the z that is given. `check_prior` holds a prior against them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior
from scorefield.priors.sampling import sample

_FRACTIONS = (0.0, 0.05, 0.3, 0.6, 0.9, 1.0)
_INNER = _FRACTIONS[1:-1]
_BATCH = 3


class ConformanceError(AssertionError):
    """A prior that breaks laws.

    failures: what is wrong, by the name of the check.
    """

    def __init__(self, name: str, failures: dict[str, str]) -> None:
        self.failures = failures
        listed = "; ".join(f"{check}: {reason}" for check, reason in failures.items())
        super().__init__(f"{name} fails {len(failures)} of the checks: {listed}")


class _Broken(Exception):
    """One check fails."""


@dataclass(frozen=True)
class _Subject:
    """A prior with what the checks ask it."""

    prior: Any
    prompts: tuple[str, ...]
    shape: tuple[int, ...]
    tolerance: float
    device: torch.device

    def denoiser(self, prompts: Any = None) -> Denoiser:
        # a denoiser under a condition has an attribute of this name
        if isinstance(self.prior, Denoiser) and not callable(
            getattr(self.prior, "condition", None)
        ):
            return self.prior
        chosen = self.prompts[0] if prompts is None and self.prompts else prompts
        denoiser: Denoiser = self.prior.condition(chosen)
        return denoiser

    def noise(self, n: int = _BATCH, key: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        return keyed_noise(0, range(n), key, self.shape, dtype, self.device)

    def level(self, fraction: float | Sequence[float]) -> NoiseLevel:
        u = torch.as_tensor(fraction, device=self.device)
        level: NoiseLevel = self.prior.schedule.at_fraction(u)
        return level

    def close(self, actual: Tensor, expected: Tensor, what: str, times: int = 1) -> None:
        allowed = times * self.tolerance
        if actual.shape != expected.shape:
            raise _Broken(f"{what}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}")
        error = float((actual - expected).abs().max() / (1 + expected.abs().max()))
        # not a number fails, too
        if not error <= allowed:
            raise _Broken(f"{what}: off by {error:.2g}, allowed are {allowed:.2g}")


def check_prior(
    prior: Any,
    prompts: Sequence[str] = (),
    *,
    shape: Sequence[int] | None = None,
    tolerance: float = 1e-3,
    device: torch.device | str | None = None,
) -> list[str]:
    """Check that a prior keeps the laws the library relies on; returns the checks it passed.

    What a prior does not have (prompts, a codec, a network) is not checked and not in the list.
    Takes some fifty evaluations of single items.

    prior: a `FrozenPrior`, an `ImagePrior`, anything else with ``schedule`` and
        ``condition(prompts)``, or a `Denoiser`.
    prompts: two or more that it takes and answers differently; none for a prior without prompts.
    shape: of one sample in the denoiser's space; may be left out if the prior has `latent_shape`.
    tolerance: allowed error over 1 + the largest value. The default is for networks in float32.
    device: where z is made; None is the prior's own, or the processor.

    Raises:
        ConformanceError: it breaks some; the message and `.failures` say which and how.
        ValueError: no shape is given for a prior without `latent_shape`, or it is no prior.
    """
    shape = getattr(prior, "latent_shape", None) if shape is None else shape
    if shape is None:
        raise ValueError("the prior has no latent_shape; give the shape of one sample, shape=...")
    if not isinstance(prior, Denoiser) and not callable(getattr(prior, "condition", None)):
        raise ValueError(
            f"{type(prior).__name__} is no Denoiser, and has no condition(prompts) that makes one; "
            "derive it from scorefield.priors.Denoiser, with schedule and predict(z, level)"
        )
    where: Any = getattr(prior, "device", "cpu") if device is None else device
    device = torch.device(where)
    subject = _Subject(prior, tuple(prompts), tuple(shape), tolerance, device)
    passed: list[str] = []
    failures: dict[str, str] = {}
    for name, check in _CHECKS.items():
        try:
            applies = check(subject)
        except _Broken as broken:
            failures[name] = str(broken)
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            if applies:
                passed.append(name)
    if failures:
        raise ConformanceError(str(getattr(prior, "name", type(prior).__name__)), failures)
    return passed


def _shapes(s: _Subject) -> bool:
    """Values have the shape of z, for levels of shape () and (batch,)."""
    denoiser = s.denoiser()
    for n in (1, 2):
        for level in (s.level(0.5), s.level([0.5] * n)):
            prediction = denoiser(s.noise(n), level)
            for kind in ("eps", "x0", "v", "velocity", "score"):
                value = getattr(prediction, kind)
                if value.shape != (n, *s.shape):
                    raise _Broken(f"{kind} has shape {tuple(value.shape)} for {(n, *s.shape)}")
    return True


def _finite(s: _Subject) -> bool:
    """Finite at every level; at an end without signal or noise a ValueError is an answer, too."""
    for fraction in _FRACTIONS:
        level = s.level(fraction)
        try:
            prediction = s.denoiser()(s.noise(1), level)
            values = [prediction.eps, prediction.x0]
        except ValueError:
            if bool(level.alpha == 0) or bool(level.sigma == 0):
                continue
            raise
        if not all(bool(value.isfinite().all()) for value in values):
            raise _Broken(f"values are not finite at fraction {fraction} of the schedule")
    return True


def _dtypes(s: _Subject) -> bool:
    """float32 gives float32 and float64 gives float64, whatever the network computes in."""
    dtypes = [torch.float32]
    if s.device.type != "mps":
        dtypes.append(torch.float64)
    for dtype in dtypes:
        prediction = s.denoiser()(s.noise(1, dtype=dtype), s.level(0.5))
        for kind in ("eps", "x0"):
            if getattr(prediction, kind).dtype != dtype:
                raise _Broken(f"{kind} is {getattr(prediction, kind).dtype} for z of {dtype}")
    return True


def _same_again(s: _Subject) -> bool:
    """Nothing is drawn, changed or remembered: calls in any order give the same."""
    denoiser, z = s.denoiser(), s.noise()
    kept, state = z.clone(), torch.get_rng_state()
    first = {u: denoiser(z, s.level(u)).v for u in _INNER}
    again = {u: denoiser(z, s.level(u)).v for u in reversed(_INNER)}
    if not torch.equal(z, kept):
        raise _Broken("z was changed in place")
    if not torch.equal(torch.get_rng_state(), state):
        raise _Broken("the global random generator was used")
    for u in _INNER:
        s.close(again[u], first[u], f"the second call at fraction {u}")
    return True


def _items(s: _Subject) -> bool:
    """An item's prediction depends on its own z and level only, not on its batch or place."""
    denoiser, z, level = s.denoiser(), s.noise(), s.level([0.1, 0.5, 0.9])
    together = denoiser(z, level).v
    turned = denoiser(z.flip(0), level[torch.tensor([2, 1, 0])]).v
    s.close(turned.flip(0), together, "items in another order")
    for i in range(_BATCH):
        alone = denoiser(z[i : i + 1], level[i : i + 1]).v
        s.close(alone, together[i : i + 1], "an item alone")
    return True


def _conversions(s: _Subject) -> bool:
    """z = alpha x0 + sigma eps, and v, velocity and score are those of x0 and eps."""
    z = s.noise(1)
    for u in _INNER:
        level = s.level(u)
        p: Prediction = s.denoiser()(z, level)
        alpha, sigma = level.like(z)
        s.close(alpha * p.x0 + sigma * p.eps, z, f"alpha x0 + sigma eps at fraction {u}")
        s.close(p.v, alpha * p.eps - sigma * p.x0, f"v at fraction {u}")
        s.close(p.velocity, p.eps - p.x0, f"velocity at fraction {u}")
        s.close(sigma * p.score, -p.eps, f"score at fraction {u}")
    return True


def _amplitudes(s: _Subject) -> bool:
    """What is known of x depends on the log-SNR: x0 at (c z, c alpha, c sigma) is that at z."""
    z, c = s.noise(), 1.3
    level = s.level([0.3, 0.5, 0.7])
    plain = s.denoiser()(z, level).eps
    scaled = s.denoiser()(c * z, NoiseLevel(c * level.alpha, c * level.sigma)).eps
    try:
        s.close(scaled, plain, f"eps at {c} times the amplitudes")
    except _Broken as broken:
        raise _Broken(
            f"{broken}; a network that knows its schedule's amplitudes alone is met at equal "
            "log-SNR by scorefield.priors.RescaledDenoiser(denoiser)"
        ) from None
    return True


def _conditions(s: _Subject) -> bool:
    """A prompt per item is that prompt for the item, also after rows are chosen."""
    if len(s.prompts) < 2:
        return False
    first, second = s.prompts[:2]
    z, level = s.noise(2), s.level(0.5)
    both = s.denoiser([first, second])
    together = both(z, level).v
    apart = [s.denoiser(p)(z[i : i + 1], level).v for i, p in enumerate((first, second))]
    s.close(together, torch.cat(apart), "two prompts in one batch")
    s.close(both.rows([1])(z[1:], level).v, apart[1], "the second row")
    other = s.denoiser(first)(z[1:], level).v
    if torch.equal(other, apart[1]):
        raise _Broken(f"the prompts {first!r} and {second!r} give the same")
    return True


def _frozen(s: _Subject) -> bool:
    """Networks are in eval mode without gradients, and predictions have no graph unless asked."""
    networks = list(_networks(s.prior))
    for network in networks:
        if any(module.training for module in network.modules()):
            raise _Broken(f"a {type(network).__name__} is in train mode; call eval()")
        if any(parameter.requires_grad for parameter in network.parameters()):
            raise _Broken(f"parameters of a {type(network).__name__} require gradients")
    if not hasattr(s.prior, "with_network_gradient"):
        return bool(networks)
    z, level = s.noise(1).requires_grad_(), s.level(0.5)
    with torch.enable_grad():
        if s.denoiser()(z, level).v.requires_grad:
            raise _Broken("predictions hold a graph through the network")
        through = s.prior.with_network_gradient()
        v = through.condition(s.prompts[0] if s.prompts else None)(z, level).v
        (gradient,) = torch.autograd.grad(v.square().sum(), z)
    if not bool(gradient.isfinite().all()) or not bool(gradient.any()):
        raise _Broken("with_network_gradient gives no finite gradient")
    return True


def _networks(holder: Any, depth: int = 3) -> Iterator[nn.Module]:
    """Networks among the attributes of an object, and of objects of this library in it."""
    for value in vars(holder).values():
        if isinstance(value, nn.Module):
            yield value
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, nn.Module))
        elif depth > 1 and value is not holder and hasattr(value, "__dict__"):
            if type(value).__module__.partition(".")[0] in ("scorefield", _package(holder)):
                yield from _networks(value, depth - 1)


def _package(holder: Any) -> str:
    return type(holder).__module__.partition(".")[0]


def _encodes(s: _Subject) -> bool:
    """Images become latents of `latent_shape`, the same every time, and gradients reach them."""
    if not isinstance(s.prior, ImagePrior):
        return False
    images = _images(s).requires_grad_()
    with torch.enable_grad():
        latents = s.prior.encode(images)
        if latents.shape != (2, *s.prior.latent_shape):
            raise _Broken(f"latents are {tuple(latents.shape)}, not {(2, *s.prior.latent_shape)}")
        (gradient,) = torch.autograd.grad(latents.square().sum(), images)
    if not all(bool(item.isfinite().all() and item.any()) for item in gradient):
        raise _Broken("no finite gradient reaches every image")
    s.close(s.prior.encode(images.detach()), latents.detach(), "encoded again")
    s.close(s.prior.encode(images.detach()[1:]), latents.detach()[1:], "an image alone")
    if latents.dtype != images.dtype:
        raise _Broken(f"latents are {latents.dtype} for images of {images.dtype}")
    return True


def _decodes(s: _Subject) -> bool:
    """Latents become images in [0, 1] of `image_size`, however far out they are."""
    if not isinstance(s.prior, ImagePrior):
        return False
    expected = _images(s).shape
    with torch.no_grad():
        images = s.prior.decode(5 * s.noise(2))
    if images.shape != expected:
        raise _Broken(f"images are {tuple(images.shape)}, not {tuple(expected)}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise _Broken("images leave [0, 1]")
    return True


def _images(s: _Subject) -> Tensor:
    size = (3, s.prior.image_size, s.prior.image_size)
    shape = size if s.prior.frames is None else (s.prior.frames, *size)
    return keyed_noise(0, range(2), 1, shape, device=s.device).sigmoid()


def _samples(s: _Subject) -> bool:
    """It can be sampled, and an item does not depend on the others."""
    options: dict[str, Any] = {"steps": 3, "device": s.device}
    both = sample(s.denoiser(), s.shape, n=2, **options)
    alone = sample(s.denoiser(), s.shape, items=[1], **options)
    # the first of the steps divides by a small alpha
    s.close(alone, both[1:], "a sample alone", times=10)
    return True


_CHECKS: dict[str, Callable[[_Subject], bool]] = {
    "shapes": _shapes,
    "finite": _finite,
    "dtypes": _dtypes,
    "same again": _same_again,
    "items": _items,
    "conversions": _conversions,
    "amplitudes": _amplitudes,
    "conditions": _conditions,
    "frozen": _frozen,
    "encode": _encodes,
    "decode": _decodes,
    "samples": _samples,
}
