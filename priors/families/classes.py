"""Models conditioned on a class, or on nothing: UNet2DModel in pixels, and DiT in latents."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.priors.codec import LatentCodec, PixelCodec
from scorefield.priors.families.base import Adapter, Card
from scorefield.priors.families.schedules import clipped, path_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import PromptConditioner, name_with_nearest


class LabelConditioner(PromptConditioner):
    """Names of classes to `class_labels` of (len,); the empty prompt to the null class.

    names: from lower-case names to classes; a class may have several.
    null: the class that stands for none of them, trained for classifier-free guidance; None where
        the model has no such class.
    network: where the labels are needed.
    """

    def __init__(self, names: Mapping[str, int], null: int | None, network: nn.Module) -> None:
        super().__init__()
        self.names = dict(names)
        self.null = null
        self._network = network

    def encode_one(self, prompt: str) -> Mapping[str, Tensor]:
        """The class of a name.

        Raises:
            ValueError: no class has this name, named with the nearest, or there is no null class.
        """
        name = prompt.strip().lower()
        label = self.null if name == "" else self.names.get(name)
        if label is None and name == "":
            raise ValueError(
                "this prior has no null class: it cannot be asked without a label, as guidance, "
                "distillation and comparisons do; give a label, and a guidance scale of 1"
            )
        if label is None:
            raise ValueError(
                f"this prior has no class {name_with_nearest(name, self.names)}; "
                f"it has {len(self.names)} names, such as {', '.join(list(self.names)[:5])}"
            )
        device = next(self._network.parameters()).device
        return {"class_labels": torch.tensor([label], device=device)}

    def modules(self) -> Sequence[nn.Module]:
        """None: labels need no network."""
        return []


class NoPrompts(PromptConditioner):
    """For models without a condition: takes the empty prompt only."""

    def encode_one(self, prompt: str) -> Mapping[str, Tensor]:
        """No tensors.

        Raises:
            ValueError: there is a prompt.
        """
        if prompt:
            raise ValueError(
                f"this prior is unconditional and takes no prompt; leave {prompt!r} out, or take a "
                "prior that is told what to make"
            )
        return {}

    def modules(self) -> Sequence[nn.Module]:
        """None."""
        return []


def unet_2d(pipeline: Any, card: Card) -> FrozenPrior:
    """A UNet2DModel on pixels (Ho et al. 2020), in colour or in grey; with or without classes.

    The classes' names are the card's labels, by default their numbers. With one class more than
    labels, the last is the null class of classifier-free guidance.

    Raises:
        ValueError: a number of labels that fits neither, or channels other than 1 or 3.
    """
    unet = pipeline.unet
    channels = unet.config.in_channels
    if channels not in (1, 3):
        raise ValueError(f"the unet must take RGB or grey; it takes {channels} channels")
    codec = PixelCodec(channels)
    path = path_of(pipeline.scheduler)
    side = card.side_or(unet.config.sample_size, 1)
    classes = unet.config.num_class_embeds
    if classes is None and unet.config.class_embed_type is None:
        if card.labels is not None:
            raise ValueError("the unet takes no classes, so the card must give no labels")
        text: PromptConditioner = NoPrompts()
    else:
        labels = [str(i) for i in range(classes)] if card.labels is None else list(card.labels)
        if len(labels) not in (classes, classes - 1):
            raise ValueError(
                f"the unet has {classes} classes; give as many labels, or one less if the last is "
                f"the null class; got {len(labels)}"
            )
        null = None if len(labels) == classes else classes - 1
        text = LabelConditioner({name.lower(): i for i, name in enumerate(labels)}, null, unet)
    return FrozenPrior(
        card.name,
        Adapter(unet),
        text,
        codec,
        path.schedule,
        path.prediction_type,
        shape=(channels, side, side),
        scheduler=clipped(path, pipeline.scheduler),
        **card.sampled(1.0, path.few_steps, unet),
    )


def dit(pipeline: Any, card: Card) -> FrozenPrior:
    """DiT (Peebles and Xie 2023), which predicts eps and a variance, conditioned on a class.

    A class has the names of the pipeline's id2label, where commas separate them.
    """
    transformer = pipeline.transformer
    codec = LatentCodec(pipeline.vae)
    path = path_of(pipeline.scheduler)
    null = transformer.config.num_embeds_ada_norm
    labels = pipeline.labels or {str(i): i for i in range(null)}
    names = {name.lower(): number for name, number in labels.items()}
    side = card.side_or(transformer.config.sample_size, codec.factor)
    return FrozenPrior(
        card.name,
        Adapter(transformer),
        LabelConditioner(names, null, transformer),
        codec,
        path.schedule,
        path.prediction_type,
        shape=(codec.channels, side, side),
        scheduler=path.scheduler,
        **card.sampled(4.0, path.few_steps, transformer),
    )
