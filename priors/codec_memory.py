"""What a codec needs in memory beside its weights, and what is free for it."""

import torch

from scorefield.devices import machine_memory
from scorefield.priors.codec import Codec

# In units of the widest full-size map: input, output, normalised and activated.
_LIVE_IN_A_CODEC = 4


def codec_memory(codec: Codec, side: int, frames: int = 1) -> float:
    """Bytes of one picture or video of that side in its autoencoder, on the safe side; 0 without.

    side: in pixels.
    frames: of a video.
    """
    vae = getattr(codec, "vae", None)
    config = getattr(vae, "config", None)
    if vae is None or config is None:
        return 0.0
    widths = config.get("decoder_block_out_channels") or config.get("block_out_channels")
    if not widths:  # Wan's and Qwen-Image's
        base = config.get("decoder_base_dim") or config.base_dim
        widths = [base * factor for factor in config.dim_mult]
    # the last up block of the decoder still has the channels of the one before it
    widest = max(widths[:2])
    together = codec.frame_factor
    if together > 1 and getattr(vae, "use_framewise_decoding", True):
        frames = min(frames, 2 * together)  # causal autoencoders go on from group to group
    patch = config.get("patch_size")  # of pixels; FLUX.2's two are of latents
    cells = (side / (patch if isinstance(patch, int) else 1)) ** 2
    return float(_LIVE_IN_A_CODEC * widest * frames * cells * vae.dtype.itemsize)


def memory_left(device: torch.device) -> int | None:
    """Bytes that more tensors can have on a device; None where nobody tells.

    On CUDA with what torch has kept of tensors that are gone.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return kept + torch.cuda.mem_get_info(device)[0]
    return machine_memory()[0]
