"""Begin a training at the weights of a finished prior, whatever its channels and words."""

import os
from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from scorefield.priors.loading import PriorError, load_prior
from scorefield.priors.text import ClipTextConditioner
from scorefield.training.diffusion import TextToLatents

__all__ = ["WarmStart"]


class WarmStart:
    """The networks of a prior that a training begins with.

    What both have is copied; channels that only the new network has begin with small random
    weights, and so do words. Latent channels are matched from the first on. A network that is told
    cameras begins as the prior that is not, whatever the camera.

    source: name of an embedded prior, a folder, or a hub id.

    Raises:
        PriorError: it cannot be loaded, or is no text-to-image prior of the recipe's kind.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        prior = load_prior(source)
        vae, unet = getattr(prior.codec, "vae", None), getattr(prior.network, "model", None)
        if not (
            isinstance(vae, AutoencoderKL)
            and isinstance(unet, UNet2DConditionModel)
            and isinstance(prior.text, ClipTextConditioner)
        ):
            raise PriorError(
                f"{os.fspath(source)}: has no autoencoder, U-Net and CLIP text encoder to begin "
                "with; give a text-to-image prior such as shapes"
            )
        self.vae, self.unet, self.text = vae, unet, prior.text

    def codec(self, codec: AutoencoderKL) -> AutoencoderKL:
        """The codec with the prior's weights where it has them."""
        state = self.vae.state_dict()
        old, new = self.vae.config.latent_channels, codec.config.latent_channels
        # The means and the log variances lie one after the other: each is matched by itself.
        for name in [n for n in state if n.startswith(("encoder.conv_out", "quant_conv"))]:
            target = codec.state_dict()[name].clone()
            for block in range(2):
                rows = state[name][block * old : (block + 1) * old]
                if name == "quant_conv.weight":
                    rows = torch.cat([_widened(half, rows, new) for half in (0, 1)], dim=1)
                target[block * new : block * new + len(rows[:new])] = rows[:new].to(target)
            state[name] = target
        _copy(state, codec)
        return codec

    def denoiser(self, module: TextToLatents, tokenizer: CLIPTokenizer) -> TextToLatents:
        """The denoiser and its text encoder with the prior's weights where it has them."""
        _copy(self.unet.state_dict(), module.unet)
        state = self.text.model.state_dict()
        name = next(n for n in state if n.endswith("token_embedding.weight"))
        known, words = self.text.tokenizer.get_vocab(), tokenizer.get_vocab()
        table = module.text_encoder.state_dict()[name].clone()
        for word, index in words.items():
            if word in known and state[name].shape[1] == table.shape[1]:
                table[index] = state[name][known[word]].to(table)
        _copy({**state, name: table}, module.text_encoder)
        embedding = module.unet.class_embedding
        if embedding is not None and self.unet.class_embedding is None:
            nn.init.zeros_(embedding.linear_2.weight)
            nn.init.zeros_(embedding.linear_2.bias)
        return module


def _widened(half: int, rows: Tensor, channels: int) -> Tensor:
    """Columns of one half (means or log variances), with zeros for the new channels."""
    old = rows.shape[1] // 2
    columns = rows[:, half * old : (half + 1) * old][:, :channels]
    return torch.cat([columns, columns.new_zeros(len(rows), channels - columns.shape[1], 1, 1)], 1)


@torch.no_grad()
def _copy(state: Mapping[str, Tensor], module: nn.Module) -> None:
    """Copy the leading block that a weight and its namesake share; other names are left alone."""
    for name, target in module.state_dict().items():
        source = state.get(name)
        if source is None or source.dim() != target.dim():
            continue
        block = tuple(slice(min(a, b)) for a, b in zip(source.shape, target.shape, strict=True))
        target[block] = source[block].to(target)
