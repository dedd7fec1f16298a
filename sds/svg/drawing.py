"""A document under optimisation: its tensors, their optimiser, and the exchange of its shapes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.domains import NotNegative, check_numbers
from scorefield.sds.vector import Document, Parameters, Shape
from scorefield.sds.vector.document import Rasterise

__all__ = ["Drawing", "Rates"]

SIDE = 600
"""Side of the view box whose units learning rates, widths and radii are given in."""

WHITE = torch.ones(3)
"""The background of all drawings."""

_KINDS = ("points", "widths", "colours")


@dataclass(frozen=True)
class Rates:
    """Adam's learning rates by kind of parameter; 0 leaves a kind as it is.

    points, widths: in units of which the view box is 600 wide. colours: of RGBA in [0, 1].
    """

    points: NotNegative = 1.0
    widths: NotNegative = 0.1
    colours: NotNegative = 0.01

    def __post_init__(self) -> None:
        check_numbers(self)


class Drawing:
    """A document whose shapes are moved, and may be exchanged for others.

    document: what is drawn; its tensors become leaves that are changed in place.
    rates: learning rates.
    opaque: whether the alpha of every colour stays as it is.
    blank: makes a shape of the kind all are of, its values of no matter; with it the number of
        shapes may change.
    rasterise: what draws; None is this library's own rasteriser.
    """

    def __init__(
        self,
        document: Document,
        rates: Rates,
        *,
        opaque: bool = False,
        blank: Callable[[], Shape] | None = None,
        rasterise: Rasterise | None = None,
    ) -> None:
        self.document = document
        self.rates = rates
        self.opaque = opaque
        self.blank = blank
        self.rasterise = rasterise
        self.scale = document.view_box.width / SIDE
        self.optimizer: torch.optim.Optimizer | None = None
        self._collect()

    @property
    def shapes(self) -> list[Shape]:
        """All shapes, the lowest first."""
        return list(self.document.shapes())

    def parameters(self) -> Parameters:
        """The document's tensors by kind."""
        return self.document.parameters()

    def render(self, size: int) -> Float[Tensor, "3 size size"]:
        """The image on white."""
        return self.document.render(size, size, WHITE, self.rasterise)

    def update(self, loss: Float[Tensor, ""], factor: float = 1.0) -> None:
        """One step of Adam down a loss, the rates times a factor; colours stay in [0, 1]."""
        if self.optimizer is None:
            return
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        found = self.parameters()
        if self.opaque:
            for colour in found.colours:
                if colour.grad is not None and colour.ndim:
                    colour.grad[..., 3] = 0
        self.optimizer.step()
        with torch.no_grad():
            for colour in found.colours:
                colour.clamp_(0, 1)
            for width in found.widths:
                width.clamp_(min=0.5 * self.scale)

    def add(self, shapes: Sequence[Shape]) -> None:
        """Put shapes on top."""
        self.replace([], shapes)

    def replace(self, gone: Sequence[int], shapes: Sequence[Shape]) -> None:
        """Take away the shapes of these numbers, and put others on top.

        The new shapes have parameters of their own, and the optimiser knows nothing of them yet;
        what it knows of the taken ones is forgotten.

        Raises:
            ValueError: the document has groups, so its shapes have no common top.
        """
        children = self.document.children
        if any(not isinstance(child, Shape) for child in children):
            raise ValueError("shapes are exchanged only in a document without groups")
        taken = set(gone)
        self.document.children = [
            *(child for number, child in enumerate(children) if number not in taken),
            *shapes,
        ]
        self._collect()

    def state(self) -> dict[str, Any]:
        """Tensors and optimiser."""
        found = self.parameters()
        return {
            "shapes": len(self.shapes),
            "parameters": {kind: [t.detach() for t in getattr(found, kind)] for kind in _KINDS},
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`, on a drawing that was made alike."""
        if self.blank is not None and len(self.shapes) != state["shapes"]:
            self.document.children = [self.blank() for _ in range(state["shapes"])]
            self._collect()
        found = self.parameters()
        with torch.no_grad():
            for kind in _KINDS:
                saved = state["parameters"][kind]
                for mine, theirs in zip(getattr(found, kind), saved, strict=True):
                    mine.copy_(theirs)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])

    def _collect(self) -> None:
        """The optimiser of the tensors that are there now, which keeps what it knows of them."""
        found = self.parameters()
        groups = []
        for kind, scale in zip(_KINDS, (self.scale, self.scale, 1.0), strict=True):
            rate, tensors = getattr(self.rates, kind) * scale, getattr(found, kind)
            if rate and tensors:
                groups.append({"params": [t.requires_grad_() for t in tensors], "rate": rate})
        if not groups:
            self.optimizer = None
            return
        known = {} if self.optimizer is None else self.optimizer.state
        self.optimizer = torch.optim.Adam(groups, lr=1.0, betas=(0.9, 0.9), eps=1e-6)
        for group in groups:
            for tensor in group["params"]:
                if tensor in known:
                    self.optimizer.state[tensor] = known[tensor]
