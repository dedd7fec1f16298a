"""Prompts to conditions: frozen text encoders, a cache, and the check of words."""

import difflib
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from scorefield.priors.condition import Condition
from scorefield.priors.embedded import embedded_priors_that_know


@runtime_checkable
class Conditioner(Protocol):
    """What a frozen prior needs of a text encoder; labels of classes are prompts as well."""

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of a batch of prompts; "" is the condition of no prompt."""
        ...

    def to(self, device: torch.device | str) -> "Conditioner":
        """Move what it is made of; returns self."""
        ...


_FEW_WORDS = 60  # that a refusal names one by one
_CACHE = 2**29  # bytes of encoded prompts that are kept


class PromptConditioner(ABC):
    """Encodes each prompt once, while there is room.

    vocabulary: the words the prior was trained on; a prompt with any other word is refused. None
        accepts every text.
    synonyms: words that are read as others, such as "puppy" as "dog".
    related: words outside the vocabulary with words of it that mean something near, such as "wolf"
        with "fox", which the refusal names.
    concepts: the things that the prior draws, which the refusal names where there are too many
        words for that.
    """

    def __init__(
        self,
        vocabulary: Collection[str] | None = None,
        synonyms: Mapping[str, str] | None = None,
        related: Mapping[str, Sequence[str]] | None = None,
        concepts: Sequence[str] = (),
    ) -> None:
        self.vocabulary = None if vocabulary is None else frozenset(vocabulary)
        self.synonyms = dict(synonyms or {})
        self.related = dict(related or {})
        self.concepts = tuple(concepts)
        self._cache: dict[Hashable, Mapping[str, Tensor]] = {}
        self._place: torch.device | str | None = None
        self._stays = False

    @abstractmethod
    def encode_one(self, prompt: str) -> Mapping[str, Tensor]:
        """The tensors of one prompt, each of one row."""

    @abstractmethod
    def modules(self) -> Sequence[nn.Module]:
        """What is moved between devices."""

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of a batch of prompts, one row each.

        Raises:
            ValueError: no prompts, or words outside the vocabulary, all named with their nearest.
        """
        if not prompts:
            raise ValueError("no prompts were given; give at least one, which may be empty")
        prompts = [self.read(prompt) for prompt in prompts]
        self.check(" ".join(prompts))
        rows = [self._encoded(prompt) for prompt in prompts]
        return Condition({name: _together([row[name] for row in rows]) for name in rows[0]})

    def _encoded(self, prompt: str) -> Mapping[str, Tensor]:
        """The tensors of a prompt, from the cache, whose least recent ones make room."""
        key = self.key(prompt)
        encoded = self._cache.pop(key, None)
        if encoded is None:
            with torch.no_grad():
                encoded = self.encode_one(prompt)
            if self._place is not None:
                encoded = {name: tensor.to(self._place) for name, tensor in encoded.items()}
        self._cache[key] = encoded  # dicts keep their order: the last one is the most recent
        size = sum(tensor.nbytes for tensor in encoded.values())
        while len(self._cache) > max(1, _CACHE // max(1, size)):
            del self._cache[next(iter(self._cache))]
        return encoded

    def key(self, prompt: str) -> Hashable:
        """By what an encoded prompt is found again; all that `encode_one` depends on."""
        return prompt

    def read(self, prompt: str) -> str:
        """The prompt with the words that synonyms stand for."""
        if not self.synonyms:
            return prompt
        return re.sub(r"[^\W_]+", lambda m: self.synonyms.get(m[0].lower(), m[0]), prompt)

    def check(self, prompt: str) -> None:
        """Raise ValueError naming the words of a prompt that the prior does not know."""
        if self.vocabulary is None:
            return
        words = re.findall(r"[^\W_]+", self.read(prompt).lower())
        unknown = [word for word in words if word not in self.vocabulary]
        if unknown:
            hints = [self._hint(word, self.vocabulary) for word in dict.fromkeys(unknown)]
            others = embedded_priors_that_know(words)
            other = f"the prior {others[0]}, which does" if others else "another prior"
            raise ValueError(
                f"this prior does not know {'; '.join(hints)}. Use {other}, or other words. "
                + self._known(self.vocabulary)
            )

    def _known(self, vocabulary: Collection[str]) -> str:
        """What a prompt may be of."""
        if self.concepts and len(vocabulary) > _FEW_WORDS:
            return f"It draws: {', '.join(self.concepts)}; scorefield info lists all its words"
        return f"It knows: {', '.join(sorted(vocabulary))}"

    def _hint(self, word: str, vocabulary: Collection[str]) -> str:
        """An unknown word with what is near to it in meaning, or else in letters."""
        if word in self.related:
            return f"{word!r} (near in meaning: {', '.join(self.related[word])})"
        return name_with_nearest(word, vocabulary)

    def to(self, device: torch.device | str) -> "PromptConditioner":
        """Move the encoders and forget what was encoded elsewhere; returns self."""
        self._place = device
        for module in () if self._stays else self.modules():
            module.to(device)
        self._cache.clear()
        return self

    def stay(self) -> None:
        """From now on `to` moves what is encoded, not the encoders: they are used once a prompt."""
        self._stays = True


class ClipTextConditioner(PromptConditioner):
    """A frozen CLIP text encoder: `encoder_hidden_states` of (len, tokens, width)."""

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        model: CLIPTextModel,
        vocabulary: Collection[str] | None = None,
        synonyms: Mapping[str, str] | None = None,
        related: Mapping[str, Sequence[str]] | None = None,
        concepts: Sequence[str] = (),
    ) -> None:
        super().__init__(vocabulary, synonyms, related, concepts)
        self.tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)

    def encode_one(self, prompt: str) -> Mapping[str, Tensor]:
        """The last hidden state of the padded prompt."""
        limit = self.tokenizer.model_max_length
        warn_if_cut(self.tokenizer, prompt, limit)
        tokens = self.tokenizer(
            prompt, padding="max_length", max_length=limit, truncation=True, return_tensors="pt"
        ).input_ids
        hidden: Tensor = self.model(tokens.to(self.model.device)).last_hidden_state
        return {"encoder_hidden_states": hidden}

    def modules(self) -> Sequence[nn.Module]:
        """The text encoder."""
        return [self.model]


class PipelineConditioner(PromptConditioner):
    """The text encoders of a diffusers pipeline, frozen and called as the pipeline calls them.

    encode_prompt: from a prompt and a device to the tensors the network takes, one row each.
    models: the text encoders that it uses, all but those that are None.
    tokenizer, limit: of the encoder that takes the longest prompts; more tokens are cut with a
        warning.
    """

    def __init__(
        self,
        encode_prompt: Callable[[str, torch.device], Mapping[str, Tensor]],
        models: Sequence[nn.Module | None],
        tokenizer: Any,
        limit: int,
        vocabulary: Collection[str] | None = None,
    ) -> None:
        super().__init__(vocabulary)
        self.encode_prompt = encode_prompt
        self.models = [m.eval().requires_grad_(False) for m in models if m is not None]
        self.tokenizer = tokenizer
        self.limit = limit

    def encode_one(self, prompt: str) -> Mapping[str, Tensor]:
        """What the pipeline makes of the prompt."""
        warn_if_cut(self.tokenizer, prompt, self.limit)
        return self.encode_prompt(prompt, next(self.models[0].parameters()).device)

    def modules(self) -> Sequence[nn.Module]:
        """The text encoders."""
        return self.models


def chat_limit(tokenizer: Any, tokens: int, **options: Any) -> int:
    """How many of the tokens that an encoder takes are left to a prompt in its chat template."""
    around = tokenizer.apply_chat_template(
        [{"role": "user", "content": ""}], tokenize=False, add_generation_prompt=True, **options
    )
    return tokens - len(tokenizer(around).input_ids)


def _together(rows: Sequence[Tensor]) -> Tensor:
    """Rows one after another, those of fewer tokens filled up with zeros, which masks leave out."""
    longest = max(row.shape[1] if row.ndim > 1 else 0 for row in rows)
    filled = [
        row
        if row.ndim < 2 or row.shape[1] == longest
        else F.pad(row, (0, 0) * (row.ndim - 2) + (0, longest - row.shape[1]))
        for row in rows
    ]
    return torch.cat(filled)


def warn_if_cut(tokenizer: Any, prompt: str, limit: int) -> None:
    """Warn, with the words that are dropped, of a prompt of more than `limit` tokens."""
    ids = tokenizer(prompt, verbose=False).input_ids
    # start and end, or (T5) the end alone
    special = len(tokenizer("", verbose=False).input_ids)
    if len(ids) > limit:
        dropped = tokenizer.decode(ids[limit - 1 : -1])
        warnings.warn(
            f"the prompt is longer than {limit - special} tokens; dropped: {dropped!r}",
            stacklevel=5,
        )


def name_with_nearest(word: str, known: Collection[str]) -> str:
    """A word with the most similar known ones, for a message."""
    near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.5)
    return f"{word!r} (nearest: {', '.join(near)})" if near else repr(word)
