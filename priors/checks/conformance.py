"""What every prior owes to those that use it, as checks that any prior can be put to.

Samplers, objectives and compositions rely on laws that a wrapper of a network breaks easily and
quietly: that items of a batch do not see each other, that nothing is remembered between calls, that
the level is that of the z that is given. `check_prior` holds a prior against them.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.cameras import orbit
from scorefield.priors.checks.readings import fitting_reading
from scorefield.priors.checks.subject import BATCH, Broken, Subject, networks_in, require_prior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior
from scorefield.priors.sampling import sample

_FRACTIONS = (0.0, 0.05, 0.3, 0.6, 0.9, 1.0)
_INNER = _FRACTIONS[1:-1]


class ConformanceError(AssertionError):
    """A prior that breaks laws.

    failures: what is wrong, by the name of the check.
    """

    def __init__(self, name: str, failures: dict[str, str]) -> None:
        self.failures = failures
        alike: dict[str, list[str]] = {}
        for check, reason in failures.items():
            alike.setdefault(reason, []).append(check)
        listed = "; ".join(f"{', '.join(checks)}: {reason}" for reason, checks in alike.items())
        super().__init__(f"{name} fails {len(failures)} of the checks: {listed}")


def check_prior(
    prior: Any,
    prompts: Sequence[str] = (),
    *,
    shape: Sequence[int] | None = None,
    tolerance: float = 1e-3,
    device: torch.device | str | None = None,
) -> list[str]:
    """Check that a prior keeps the laws the library relies on; returns the checks it passed.

    What a prior does not have (prompts, cameras, a codec, a network) is not checked and not in the
    list. A network whose values do not fit as what they are read as, or as no kind of prediction,
    as one that is not trained, is warned about, and "prediction" is not in the list. Takes some 80
    evaluations of single items.

    prior: a `FrozenPrior`, an `ImagePrior`, anything else with ``schedule`` and
        ``condition(prompts)``, or a `Denoiser`.
    prompts: two or more that it takes and answers differently; none for a prior without prompts.
    shape: of one sample in the denoiser's space; may be left out if the prior has `latent_shape`.
    tolerance: allowed error over 1 + the largest value. The default is for networks in float32.
    device: where z is made; None is the prior's own, or the processor.

    Raises:
        ConformanceError: it breaks some; the message and `.failures` say which and how.
        ValueError: no shape is given for a prior without `latent_shape`, or it is no prior, or its
            schedule is none of ours.
    """
    require_prior(prior)
    shape = getattr(prior, "latent_shape", None) if shape is None else shape
    if shape is None:
        raise ValueError("the prior has no latent_shape; give the shape of one sample, shape=...")
    where: Any = getattr(prior, "device", "cpu") if device is None else device
    device = torch.device(where)
    subject = Subject(prior, tuple(prompts), tuple(shape), tolerance, device)
    passed: list[str] = []
    failures: dict[str, str] = {}
    for name, check in _CHECKS.items():
        try:
            with torch.no_grad():
                applies = check(subject)
        except Broken as broken:
            failures[name] = str(broken)
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            if applies:
                passed.append(name)
    if failures:
        raise ConformanceError(subject.name, failures)
    return passed


def _shapes(s: Subject) -> bool:
    """Values have the shape of z, for levels of shape () and (batch,)."""
    denoiser = s.denoiser()
    for n in (1, 2):
        for level in (s.level(0.5), s.level([0.5] * n)):
            prediction = denoiser(s.noise(n), level)
            for kind in ("eps", "x0", "v", "velocity", "score"):
                value = getattr(prediction, kind)
                if value.shape != (n, *s.shape):
                    raise Broken(f"{kind} has shape {tuple(value.shape)} for {(n, *s.shape)}")
    return True


def _finite(s: Subject) -> bool:
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
            raise Broken(f"values are not finite at fraction {fraction} of the schedule")
    return True


def _dtypes(s: Subject) -> bool:
    """float32 gives float32 and float64 gives float64, whatever the network computes in."""
    dtypes = [torch.float32]
    if s.device.type != "mps":
        dtypes.append(torch.float64)
    for dtype in dtypes:
        try:
            prediction = s.denoiser()(s.noise(1, dtype=dtype), s.level(0.5))
        except RuntimeError as error:  # torch's word of weights and z that are not alike
            raise Broken(
                f"z of {dtype}: {' '.join(str(error).split())[:120]}; give the network its own "
                "dtype and z's to what it returns: network(z.float(), t.float()).to(z.dtype)"
            ) from None
        for kind in ("eps", "x0"):
            if getattr(prediction, kind).dtype != dtype:
                raise Broken(f"{kind} is {getattr(prediction, kind).dtype} for z of {dtype}")
    return True


def _same_again(s: Subject) -> bool:
    """Nothing is drawn, changed or remembered: calls in any order give the same."""
    denoiser, z = s.denoiser(), s.noise()
    kept, state = z.clone(), torch.get_rng_state()
    first = {u: denoiser(z, s.level(u)).v for u in _INNER}
    again = {u: denoiser(z, s.level(u)).v for u in reversed(_INNER)}
    if not torch.equal(z, kept):
        raise Broken("z was changed in place")
    if not torch.equal(torch.get_rng_state(), state):
        raise Broken("the global random generator was used; dropout does so until eval()")
    for u in _INNER:
        s.close(again[u], first[u], f"the second call at fraction {u}")
    return True


def _items(s: Subject) -> bool:
    """An item's prediction depends on its own z and level only, not on its batch or place."""
    denoiser, z, level = s.denoiser(), s.noise(), s.level([0.1, 0.5, 0.9])
    together = denoiser(z, level).v
    turned = denoiser(z.flip(0), level[torch.tensor([2, 1, 0])]).v
    s.close(turned.flip(0), together, "items in another order")
    for i in range(BATCH):
        alone = denoiser(z[i : i + 1], level[i : i + 1]).v
        s.close(alone, together[i : i + 1], "an item alone")
    return True


def _conversions(s: Subject) -> bool:
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


def _amplitudes(s: Subject) -> bool:
    """What is known of x depends on the log-SNR: x0 at (c z, c alpha, c sigma) is that at z."""
    z, c = s.noise(), 1.3
    level = s.level([0.3, 0.5, 0.7])
    plain = s.denoiser()(z, level).eps
    scaled = s.denoiser()(c * z, NoiseLevel(c * level.alpha, c * level.sigma)).eps
    try:
        s.close(scaled, plain, f"eps at {c} times the amplitudes")
    except Broken as broken:
        raise Broken(
            f"{broken}; a network that knows its schedule's amplitudes alone is met at equal "
            "log-SNR by scorefield.priors.RescaledDenoiser(denoiser)"
        ) from None
    return True


def _conditions(s: Subject) -> bool:
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
        raise Broken(f"the prompts {first!r} and {second!r} give the same")
    return True


def _cameras(s: Subject) -> bool:
    """A camera per item is that camera for the item, and opposite cameras see other things."""
    if getattr(s.prior, "cameras", None) is None:
        return False
    z, level, prompt = s.noise(2), s.level(0.5), s.prompts[0] if s.prompts else None
    views = orbit(2)
    both = s.prior.condition(prompt, views)
    apart = [s.prior.condition(prompt, views[[i]])(z[i : i + 1], level).v for i in range(2)]
    s.close(both(z, level).v, torch.cat(apart), "two cameras in one batch")
    s.close(both.rows([1])(z[1:], level).v, apart[1], "the second camera's row")
    if torch.equal(s.prior.condition(prompt, views[[0]])(z[1:], level).v, apart[1]):
        raise Broken("front and back give the same: the network does not hear of the camera")
    return True


def _frozen(s: Subject) -> bool:
    """Networks are in eval mode without gradients, and predictions have no graph unless asked."""
    networks = list(networks_in(s.prior))
    for network in networks:
        if any(module.training for module in network.modules()):
            raise Broken(f"a {type(network).__name__} is in train mode; call eval()")
        if any(parameter.requires_grad for parameter in network.parameters()):
            raise Broken(f"parameters of a {type(network).__name__} require gradients")
    if not hasattr(s.prior, "with_network_gradient"):
        return bool(networks)
    z, level = s.noise(1).requires_grad_(), s.level(0.5)
    with torch.enable_grad():
        if s.denoiser()(z, level).v.requires_grad:
            raise Broken("predictions hold a graph through the network")
        through = s.prior.with_network_gradient()
        v = through.condition(s.prompts[0] if s.prompts else None)(z, level).v
        (gradient,) = torch.autograd.grad(v.square().sum(), z)
    if not bool(gradient.isfinite().all()) or not bool(gradient.any()):
        raise Broken("with_network_gradient gives no finite gradient")
    return True


def _prediction(s: Subject) -> bool:
    """Values are what they are read as: no other reading denoises the field's samples better."""
    found = fitting_reading(s.denoiser(), s.shape, s.device)
    if found is None:
        return False
    kind, fitting = found
    if fitting != kind:
        remedy = "the network is not trained, or is told another time than schedule.timestep(level)"
        if fitting is not None:
            remedy = (
                f"they fit as {fitting}: use Prediction.from_{fitting}(z, level, value), or that "
                f"prediction_type of FrozenPrior; or {remedy}"
            )
        warnings.warn(
            f"the predictions of {s.name} do not fit as {kind}, which they are read as; {remedy}",
            UserWarning,
            stacklevel=3,
        )
    return fitting == kind


def _encodes(s: Subject) -> bool:
    """Images become latents of `latent_shape`, the same every time, and gradients reach them."""
    if not isinstance(s.prior, ImagePrior):
        return False
    images = _images(s).requires_grad_()
    with torch.enable_grad():
        latents = s.prior.encode(images)
        if latents.shape != (2, *s.prior.latent_shape):
            raise Broken(f"latents are {tuple(latents.shape)}, not {(2, *s.prior.latent_shape)}")
        (gradient,) = torch.autograd.grad(latents.square().sum(), images)
    if not all(bool(item.isfinite().all() and item.any()) for item in gradient):
        raise Broken("no finite gradient reaches every image")
    s.close(s.prior.encode(images.detach()), latents.detach(), "encoded again")
    s.close(s.prior.encode(images.detach()[1:]), latents.detach()[1:], "an image alone")
    if latents.dtype != images.dtype:
        raise Broken(f"latents are {latents.dtype} for images of {images.dtype}")
    return True


def _decodes(s: Subject) -> bool:
    """Latents become images in [0, 1] of `image_size`, however far out they are."""
    if not isinstance(s.prior, ImagePrior):
        return False
    expected = _images(s).shape
    with torch.no_grad():
        images = s.prior.decode(5 * s.noise(2))
    if images.shape != expected:
        raise Broken(f"images are {tuple(images.shape)}, not {tuple(expected)}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise Broken("images leave [0, 1]")
    return True


def _images(s: Subject) -> Tensor:
    size = (3, s.prior.image_size, s.prior.image_size)
    shape = size if s.prior.frames is None else (s.prior.frames, *size)
    return keyed_noise(0, range(2), 1, shape, device=s.device).sigmoid()


def _samples(s: Subject) -> bool:
    """It can be sampled, and an item does not depend on the others."""
    options: dict[str, Any] = {"steps": 3, "device": s.device}
    both = sample(s.denoiser(), s.shape, n=2, **options)
    alone = sample(s.denoiser(), s.shape, items=[1], **options)
    # the first of the steps divides by a small alpha
    s.close(alone, both[1:], "a sample alone", times=10)
    return True


_CHECKS: dict[str, Callable[[Subject], bool]] = {
    "shapes": _shapes,
    "finite": _finite,
    "dtypes": _dtypes,
    "same again": _same_again,
    "items": _items,
    "conversions": _conversions,
    "amplitudes": _amplitudes,
    "conditions": _conditions,
    "cameras": _cameras,
    "frozen": _frozen,
    "prediction": _prediction,
    "encode": _encodes,
    "decode": _decodes,
    "samples": _samples,
}
