"""Prompts to conditions: tokenizer, frozen text encoder, cache, and the check of words."""

import difflib
import re
import warnings
from collections.abc import Collection, Sequence

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from scorefield.priors.denoiser import Condition


class TextEncoder:
    """A frozen CLIP text encoder that encodes each prompt once.

    vocabulary: the words the prior was trained on; a prompt with any other word is refused. None
        accepts every text.
    """

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        model: CLIPTextModel,
        vocabulary: Collection[str] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)
        self.vocabulary = None if vocabulary is None else frozenset(vocabulary)
        self._cache: dict[str, torch.Tensor] = {}

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of a batch of prompts: `encoder_hidden_states` of (len, tokens, width).

        Raises:
            ValueError: no prompts, or a word outside the vocabulary, named with its nearest words.
        """
        if not prompts:
            raise ValueError("no prompts were given; give at least one, which may be empty")
        for prompt in prompts:
            if prompt not in self._cache:
                self._cache[prompt] = self._encode(prompt)
        return Condition(
            {"encoder_hidden_states": torch.cat([self._cache[prompt] for prompt in prompts])}
        )

    def _encode(self, prompt: str) -> torch.Tensor:
        self.check(prompt)
        limit = self.tokenizer.model_max_length
        ids = self.tokenizer(prompt, verbose=False).input_ids
        if len(ids) > limit:
            dropped = self.tokenizer.decode(ids[limit - 1 : -1])
            warnings.warn(
                f"the prompt is longer than {limit - 2} tokens; dropped: {dropped!r}", stacklevel=4
            )
        tokens = self.tokenizer(
            prompt, padding="max_length", max_length=limit, truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            hidden: torch.Tensor = self.model(tokens.to(self.model.device)).last_hidden_state
        return hidden

    def check(self, prompt: str) -> None:
        """Raise ValueError naming the words of a prompt that the prior does not know."""
        if self.vocabulary is None:
            return
        unknown = [w for w in re.findall(r"[^\W_]+", prompt.lower()) if w not in self.vocabulary]
        if unknown:
            hints = [self._hint(word) for word in dict.fromkeys(unknown)]
            known = ", ".join(sorted(self.vocabulary))
            raise ValueError(
                f"this prior does not know {'; '.join(hints)}. It knows: {known}. "
                "Use these words or another prior."
            )

    def _hint(self, word: str) -> str:
        assert self.vocabulary is not None
        near = difflib.get_close_matches(word, sorted(self.vocabulary), n=3, cutoff=0.5)
        return f"{word!r} (nearest: {', '.join(near)})" if near else repr(word)

    def to(self, device: torch.device | str) -> "TextEncoder":
        """Move the encoder and forget what was encoded elsewhere; returns self."""
        self.model.to(device)
        self._cache.clear()
        return self
