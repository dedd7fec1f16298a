"""Policies that were trained with diffusion_policy (Chi et al. 2023), from their state dict."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.settings import (
    Predicts,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings


def policy_of_reference(
    state: Mapping[str, Tensor],
    horizons: Horizons,
    *,
    low: Sequence[float],
    high: Sequence[float],
    steps: int = 8,
    predicts: Predicts = "eps",
    heads: int = 4,
    rate: float | None = None,
) -> DiffusionPolicy:
    """A policy of states of the reference, acting by the reference's rule.

    Sizes are read from the weights; what follows is not in them.

    Args:
        state: of a `DiffusionUnetLowdimPolicy` with `obs_as_global_cond` or a
            `DiffusionTransformerLowdimPolicy` with `obs_as_cond`: network and normalizer. Its
            checkpoints are pickles, which run what is in them: save the state dict as safetensors
            where the reference is installed; the weights' average is `ema_model`.
        horizons: its n_obs_steps, n_action_steps and horizon, with `oa_step_convention`.
        low: least values of an action's numbers, one each.
        high: the greatest.
        steps: of its DDIM scheduler, whose timesteps are "leading".
        predicts: its prediction_type: eps is "epsilon", x0 "sample", v "v_prediction".
        heads: of the transformer's attention.
        rate: steps per second.

    Raises:
        ValueError: weights are missing, left over or of other sizes; they are named.
    """
    try:
        seen, done = (_normalizer(state, name) for name in ("obs", "action"))
        if "model.input_emb.weight" in state:
            network: TransformerSettings | UNet1DSettings = _transformer(state, heads)
        else:
            network = _unet(state)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"this is no state dict of a policy of states of diffusion_policy: it lacks {error}"
        ) from error
    spaces = PolicySpaces(len(seen.scale), len(done.scale), tuple(low), tuple(high), rate=rate)
    settings = DiffusionSettings(predicts, weighting="uniform", steps=steps, sampler="reference")
    policy = DiffusionPolicy(spaces, horizons, network, settings)
    policy.network.load_reference(state, prefix="model.")
    policy.encoder.states, policy.actions = seen, done
    return policy.eval().requires_grad_(False)


def _normalizer(state: Mapping[str, Tensor], name: str) -> Normalizer:
    scale, offset = (state[f"normalizer.params_dict.{name}.{part}"] for part in ("scale", "offset"))
    return Normalizer(scale, offset)


def _unet(state: Mapping[str, Tensor]) -> UNet1DSettings:
    first = "model.down_modules.{}.0.blocks.0.block.0.weight"
    levels = 0
    while first.format(levels) in state:
        levels += 1
    widths = tuple(state[first.format(level)].shape[0] for level in range(levels))
    kernel = state[first.format(0)].shape[2]
    time_features = state["model.diffusion_step_encoder.1.weight"].shape[1]
    return UNet1DSettings(widths, time_features, kernel, frequencies=0)


def _transformer(state: Mapping[str, Tensor], heads: int) -> TransformerSettings:
    layers = 0
    while f"model.decoder.layers.{layers}.norm1.weight" in state:
        layers += 1
    return TransformerSettings(
        observations=state["model.cond_pos_emb"].shape[1] - 1,
        width=state["model.input_emb.weight"].shape[0],
        layers=layers,
        heads=heads,
        causal=True,
        frequencies=0,
    )
