"""Which attention maps of one prompt become those of another: the edits of prompt-to-prompt.

Hertz et al. 2022, "Prompt-to-prompt image editing with cross attention control", section 3.2.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AttentionEdit:
    """How the attention of the edited image is made from that of the source.

    In the noisiest ``cross_share`` of the schedule, every cross-attention map of the edited image
    (rows: places in the image; columns: tokens of its prompt) is

        taken * (source_map @ mapping) + (1 - taken) * own_map,

    and its own map afterwards; its columns are then multiplied by ``weights``, throughout.  In the
    noisiest ``self_share`` its self-attention maps are the source's.  Make one by `replacement`,
    `refinement` or `reweighting`.

    Attributes:
        source: prompt of the source image.
        target: prompt of the edited image.
        mapping: shape (tokens, tokens), source by target.
        taken: shape (tokens,), 1 where a target token's map comes from the source.
        weights: shape (tokens,), factors of the target tokens' maps.
        cross_share: in [0, 1].
        self_share: in [0, 1].
    """

    source: str
    target: str
    mapping: Float[Tensor, "tokens tokens"]
    taken: Float[Tensor, " tokens"]
    weights: Float[Tensor, " tokens"]
    cross_share: float | int = 0.8
    self_share: float | int = 0.4

    def __post_init__(self) -> None:
        for name in ("cross_share", "self_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @classmethod
    def replacement(
        cls, tokenizer: Any, source: str, target: str, **shares: float | int
    ) -> "AttentionEdit":
        """Word by word: "a red cup" to "a blue cup"; a new word takes the map of the old one.

        Where a word has several tokens, its map is shared out evenly among the tokens of the new
        one, so that every row of a map still sums to one.

        Args:
            tokenizer: a CLIP tokenizer, ``tokenizer_of(prior)``.
            source: prompt of the source image.
            target: prompt of the edited image, of as many words.
            **shares: ``cross_share`` and ``self_share``.

        Raises:
            ValueError: prompts of unequal length, or longer than the tokenizer takes.
        """
        if len(source.split()) != len(target.split()):
            raise ValueError(
                f"replacement goes word by word: {source!r} has {len(source.split())} words, "
                f"{target!r} has {len(target.split())}; use refinement"
            )
        old, new = _Tokens(tokenizer, source), _Tokens(tokenizer, target)
        mapping = torch.zeros(old.limit, new.limit)
        for a, b in zip(old.words, new.words, strict=True):
            if len(a) == len(b):
                mapping[list(a), list(b)] = 1
            else:
                mapping[a.start : a.stop, b.start : b.stop] = 1 / len(b)
        _map_the_rest(mapping, old, new)
        # What is left over of a longer source: its last paddings, all to the last of the target.
        mapping[mapping.sum(dim=1) == 0, -1] = 1
        ones = torch.ones(new.limit)
        return cls(source, target, mapping, ones, ones, **shares)

    @classmethod
    def refinement(
        cls, tokenizer: Any, source: str, target: str, **shares: float | int
    ) -> "AttentionEdit":
        """Words are added or changed: "a cup" to "a red cup"; common tokens take the source's maps.

        The tokens are aligned by their longest common runs (`difflib.SequenceMatcher`); a token
        without a partner keeps its own map.

        Args:
            tokenizer: a CLIP tokenizer, ``tokenizer_of(prior)``.
            source: prompt of the source image.
            target: prompt of the edited image.
            **shares: ``cross_share`` and ``self_share``.

        Raises:
            ValueError: a prompt longer than the tokenizer takes.
        """
        old, new = _Tokens(tokenizer, source), _Tokens(tokenizer, target)
        mapping = torch.zeros(old.limit, new.limit)
        matcher = difflib.SequenceMatcher(None, old.ids, new.ids, autojunk=False)
        for run in matcher.get_matching_blocks():
            for k in range(run.size):
                mapping[1 + run.a + k, 1 + run.b + k] = 1
        _map_the_rest(mapping, old, new)
        taken = mapping.sum(dim=0)
        return cls(source, target, mapping, taken, torch.ones_like(taken), **shares)

    @classmethod
    def reweighting(
        cls,
        tokenizer: Any,
        prompt: str,
        weights: Mapping[str, float | int],
        **shares: float | int,
    ) -> "AttentionEdit":
        """One prompt, some of its words attended to more (factor > 1) or less (< 1, even < 0).

        Args:
            tokenizer: a CLIP tokenizer, ``tokenizer_of(prior)``.
            prompt: of both images.
            weights: factors by word.
            **shares: ``cross_share`` and ``self_share``.

        Raises:
            ValueError: a word that the prompt does not have, or a factor that is not finite.
        """
        same = cls.refinement(tokenizer, prompt, prompt, **shares)
        return same.reweighted(tokenizer, weights)

    def reweighted(self, tokenizer: Any, weights: Mapping[str, float | int]) -> "AttentionEdit":
        """This edit with further factors on words of its target.

        Raises:
            ValueError: a word that the target does not have, or a factor that is not finite.
        """
        tokens, words = _Tokens(tokenizer, self.target), self.target.split()
        factors = self.weights.clone()
        for word, factor in weights.items():
            if word not in words:
                raise ValueError(
                    f"{word!r} cannot be weighted; the words of the prompt are {', '.join(words)}"
                )
            if not math.isfinite(factor):
                raise ValueError(f"the weight of {word!r} must be finite, got {factor}")
            for place, span in zip(words, tokens.words, strict=True):
                if place == word:
                    factors[list(span)] *= factor
        return replace(self, weights=factors)


class _Tokens:
    """The tokens of a prompt as a CLIP encoder sees them: begin, words, end, paddings."""

    def __init__(self, tokenizer: Any, prompt: str) -> None:
        pieces = [tokenizer(w, add_special_tokens=False).input_ids for w in prompt.split()]
        self.ids: Sequence[int] = [token for piece in pieces for token in piece]
        self.limit: int = tokenizer.model_max_length
        if self.end >= self.limit:
            raise ValueError(
                f"{prompt!r} has {len(self.ids)} tokens, the encoder takes {self.limit - 2}; "
                "shorten it"
            )
        self.words: list[range] = []
        begin = 1
        for piece in pieces:
            self.words.append(range(begin, begin + len(piece)))
            begin += len(piece)

    @property
    def end(self) -> int:
        """The place of the token that ends the prompt."""
        return 1 + len(self.ids)


def _map_the_rest(mapping: Tensor, old: _Tokens, new: _Tokens) -> None:
    """Begin to begin, end to end, and the k-th padding to the k-th."""
    mapping[0, 0] = 1
    for k in range(min(old.limit - old.end, new.limit - new.end)):
        mapping[old.end + k, new.end + k] = 1
