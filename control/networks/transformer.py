"""The transformer of Diffusion Policy, called as `Perceptron` is.

A token per action looks at the other actions, the time and the observations, or causally, at the
actions before it and the observations that are not after it, as in Chi et al. 2023 (arXiv
2303.04137, section 3.1 and its code, `TransformerForDiffusion`). It suits actions that change
fast, and is the more sensitive to its settings; begin with `UNet1D`.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.networks.fourier import Fourier
from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.settings import TransformerSettings
from scorefield.control.networks.unet1d import sinusoids


class Transformer(ChunkNetwork):
    """(chunk, time, condition) -> chunk.

    Args:
        steps: Tp.
        size_in: numbers per step that go in.
        size_out: numbers per step that come out.
        condition: numbers in the condition: those of all observations, one after another.
        settings: its size.

    Raises:
        ValueError: the condition cannot be cut into as many observations.
    """

    def __init__(
        self, steps: int, size_in: int, size_out: int, condition: int, settings: TransformerSettings
    ) -> None:
        super().__init__()
        if condition % settings.observations:
            raise ValueError(
                f"a condition of {condition} numbers cannot be cut into {settings.observations} "
                "observations of equal size; set observations to To"
            )
        self.settings = settings
        width, seen = settings.width, settings.observations
        self.enter = nn.Linear(size_in, width)
        self.observe = nn.Linear(condition // seen, width)
        self.places = nn.Parameter(torch.empty(steps, width))
        self.seen_places = nn.Parameter(torch.empty(1 + seen, width))
        self.encode = nn.Sequential(
            nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width)
        )
        self.layers = nn.ModuleList(
            _Layer(width, settings.heads, settings.dropout) for _ in range(settings.layers)
        )
        self.remember = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(settings.layers))
        # Straight to keys and values: through the maps above, as narrow as a token, an expert that
        # switches is not learnt from the same features.
        self.fourier = None
        if settings.frequencies:
            one = condition // seen
            self.fourier = Fourier(one, settings.frequencies, settings.bandwidth)
            self.recall = nn.Linear(self.fourier.size, settings.layers * 2 * width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, size_out)
        # True where one may look.
        actions = torch.ones(steps, steps, dtype=torch.bool)
        memory = torch.ones(steps, 1 + seen, dtype=torch.bool)
        if settings.causal:  # action k goes with observation k; the time is before all
            actions, memory = actions.tril(), memory.tril(1)
        self.register_buffer("actions", actions, persistent=False)
        self.register_buffer("memory", memory, persistent=False)
        self.actions: Tensor
        self.memory: Tensor
        # Maps begin as torch's do: the reference's deviation of 0.02 leaves a thousandth of what
        # is observed at this width, which a short training does not find.
        nn.init.normal_(self.places, std=0.02)
        nn.init.normal_(self.seen_places, std=0.02)

    def prepare(
        self, condition: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch layers observations keys"]:
        """Keys and values of the observations in all layers; the time does not change them."""
        observations = condition.unflatten(1, (self.settings.observations, -1))
        memory = self.encode(self.observe(observations) + self.seen_places[1:])
        prepared = torch.stack([remember(memory) for remember in self.remember], dim=1)
        if self.fourier is None:
            return prepared
        recalled = self.recall(self.fourier(observations))
        return prepared + recalled.unflatten(2, (self.settings.layers, -1)).transpose(1, 2)

    def denoise(
        self,
        chunk: Float[Tensor, "batch steps size"],
        time: Float[Tensor, " batch"],
        prepared: Float[Tensor, "batch layers observations keys"],
    ) -> Float[Tensor, "batch steps out"]:
        """The same as the call, with the condition as `prepare` gives it."""
        embedded = sinusoids(time * self.settings.timesteps, self.settings.width)
        memory = self.encode(embedded + self.seen_places[0])[:, None]
        x = self.enter(chunk) + self.places
        steps = zip(self.layers, self.remember, prepared.unbind(dim=1), strict=True)
        for layer, remember, observed in steps:
            seen = torch.cat([remember(memory), observed], dim=1)
            x = layer(x, seen, self.actions, self.memory)
        out: Tensor = self.leave(self.norm(x))
        return out

    def load_reference(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Takes the weights of a `TransformerForDiffusion` of diffusion_policy, of the same sizes.

        Its names, on the left, become ours:

        =============================================  =========================================
        input_emb, cond_obs_emb, ln_f, head            enter, observe, norm, leave
        pos_emb, cond_pos_emb                          places, seen_places
        encoder.0, .2                                  encode.0, .2
        in decoder.layers.i: self_attn.in_proj_*       layers.i.among
        in_proj_* of multihead_attn, first third       layers.i.ask
        in_proj_* of multihead_attn, the rest          remember.i
        out_proj of self_attn, multihead_attn          layers.i.among_out, ask_out
        linear1, linear2, norm1, norm2, norm3          layers.i.map.0, map.3, norms.0, .1, .2
        =============================================  =========================================

        Args:
            state: its state dict; made with `causal_attn`, `time_as_cond` and `obs_as_cond`, and
                without layers in the encoder of the condition.
            prefix: of its names in the state dict, such as "model." in a policy's.

        Raises:
            ValueError: a weight is missing, left over, or of another shape.
        """
        given = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        try:
            mine = _renamed(given, len(self.layers))
            # Our own count: each of their in_proj_* of multihead_attn is two of ours.
            extra = {"_dummy_variable", "mask", "memory_mask"}
            left = len(given.keys() - extra) + 2 * len(self.layers) - len(mine)
            if left:
                raise ValueError(f"{left} weights are left over")
            self.load_state_dict(mine)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"these are no weights of a TransformerForDiffusion of {self.settings} "
                f"({type(error).__name__}: {error})"
            ) from error


def _renamed(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The reference's weights by our names; what else is in its state is left out."""
    names = {"input_emb": "enter", "cond_obs_emb": "observe", "ln_f": "norm", "head": "leave"}
    names |= {"encoder.0": "encode.0", "encoder.2": "encode.2"}
    parts = {"self_attn.out_proj": "among_out", "multihead_attn.out_proj": "ask_out"}
    parts |= {"linear1": "map.0", "linear2": "map.3"}
    parts |= {f"norm{i + 1}": f"norms.{i}" for i in range(3)}
    for i in range(layers):
        names |= {f"decoder.layers.{i}.{one}": f"layers.{i}.{ours}" for one, ours in parts.items()}
    mine = {"places": state["pos_emb"][0], "seen_places": state["cond_pos_emb"][0]}
    for kind in ("weight", "bias"):
        mine |= {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for theirs, ours in names.items()}
        for i in range(layers):
            layer = f"decoder.layers.{i}"
            mine[f"layers.{i}.among.{kind}"] = state[f"{layer}.self_attn.in_proj_{kind}"]
            seen = state[f"{layer}.multihead_attn.in_proj_{kind}"]
            third = len(seen) // 3
            mine[f"layers.{i}.ask.{kind}"], mine[f"remember.{i}.{kind}"] = seen.split(
                [third, 2 * third]
            )
    return mine


class _Layer(nn.Module):
    """Attention among actions, attention to what was seen, two linear maps; norms come first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = nn.Linear(width, 3 * width)
        self.among_out = nn.Linear(width, width)
        self.ask = nn.Linear(width, width)
        self.ask_out = nn.Linear(width, width)
        self.map = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor, actions: Tensor, memory: Tensor) -> Tensor:
        """For x (B, Tp, width) and keys and values of what was seen (B, 1 + To, 2 width)."""
        h = self.among(self.norms[0](x))
        x = x + self.drop(self.among_out(self._attend(actions, *h.chunk(3, dim=2))))
        h = self.ask(self.norms[1](x))
        x = x + self.drop(self.ask_out(self._attend(memory, h, *seen.chunk(2, dim=2))))
        return x + self.drop(self.map(self.norms[2](x)))

    def _attend(self, mask: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (query, key, value))
        dropout = self.dropout if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        return attended.transpose(1, 2).flatten(2)
