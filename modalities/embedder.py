"""From parts to embeddings: tokenizer, embedding table, encoders, connectors, and one splice.

It knows the modalities and the chat template; it does not know the layers of the backbone, nor who asks.

Shapes: T = tokens, D = backbone width, F = encoder width.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from modalities.architectures import Shared
from modalities.base import TEXT, Encoder, Modality, Part, UnknownModality
from modalities.features import Features, Recent

_HERE = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands for the user's parts while the chat template is rendered
FRAMES = 64  # kinds of conversation whose rendered template is kept


class PromptTooLong(ValueError):
    """A prompt that does not fit the backbone's context. The message names the cure."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation. Only a user's holds media."""

    role: str  # system, user or assistant
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A prompt as the backbone takes it, and what it consists of."""

    embeds: Tensor  # (T, D)
    text_tokens: int
    media_tokens: dict[str, int] = field(default_factory=dict)


class Common:
    """What all checkpoints on a backbone share, read once: tokenizer, embedding table, context length, encoders."""

    def __init__(
        self, tokenizer: Any, table: nn.Embedding, context: int, encoders: Callable[[Modality], Encoder]
    ) -> None:
        self.tokenizer = tokenizer
        self.table = table
        self.context = context
        self.encoders: dict[str, Encoder] = {}
        self._load = encoders
        self._loading = Lock()
        self._tokenizing = Lock()

    def encoder(self, modality: Modality) -> Encoder:
        """The frozen encoder of a modality, loaded when first needed."""
        with self._loading:
            if modality.name not in self.encoders:
                self.encoders[modality.name] = self._load(modality).eval().requires_grad_(False)
            return self.encoders[modality.name]

    def ids(self, text: str, special: bool) -> list[int]:
        """Token ids. One thread at a time: a fast tokenizer keeps whether it splits special tokens as a state."""
        with self._tokenizing:
            return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"])


class Embedder(nn.Module):
    """Parts -> (T, D). The connectors are a checkpoint's; `recent` keeps what they made of the last so many files.

    Only where connectors do not change any more may they be remembered.
    """

    def __init__(
        self, common: Common, *, system: str | None = None, features: Features | None = None, recent: int = 0
    ) -> None:
        super().__init__()
        self.common = common
        self.tokenizer = common.tokenizer
        self.table = common.table
        self.max_tokens = common.context
        self.modalities: dict[str, Modality] = {}
        self.connectors = nn.ModuleDict()
        self.features = features or Features()
        self.system = system
        self._recent: Recent[Tensor] = Recent(recent)
        self._frames: Recent[list[list[int]]] = Recent(FRAMES)
        self.before, self.after = self.frame(("user",))

    @property
    def width(self) -> int:
        """D, the backbone's width."""
        return self.table.embedding_dim

    def encoder(self, name: str) -> Encoder:
        """The frozen encoder of a modality, loaded once."""
        return self.common.encoder(self.modalities[name])

    def encode(self, parts: Iterable[Part]) -> None:
        """Put the features of known media into the cache's folder, if it has one, in batches. Raises BadMedia."""
        if self.features.folder is None:
            return
        media = [part for part in parts if part.modality in self.modalities]
        for name in dict.fromkeys(part.modality for part in media):
            mine = [part for part in media if part.modality == name]
            self.features.fill(self.modalities[name], self.encoder(name), mine)

    def add(self, modality: Modality, connector: nn.Module | None = None) -> nn.Module:
        """Join a modality: its connector is new unless one is given (paper §4.1: joined, not averaged)."""
        self.modalities[modality.name] = modality
        if connector is None:
            connector = self._shared(modality) or modality.connector(self.encoder(modality.name).width, self.width)
        self.connectors[modality.name] = connector.eval()
        return connector

    def _shared(self, modality: Modality) -> nn.Module | None:
        """The connector that a learned modality has and this one shares (paper, Appendix A.3), if any."""
        if not isinstance(modality.connector, Shared):
            return None
        alike = [name for name, other in self.modalities.items() if other.connector == modality.connector]
        return next((self.connectors[name] for name in alike if name in self.connectors), None)

    def ids(self, text: str) -> list[int]:
        """Token ids of a user's text; a special token typed as text stays text."""
        return self.common.ids(text, special=False)

    def media(self, part: Part) -> Tensor:
        """Features of a media part, (T, F), from the cache where it is there."""
        if part.modality not in self.connectors:
            known = ", ".join(self.connectors) or "none"
            raise UnknownModality(
                f"This checkpoint has not learned {part.modality!r}; it knows text and {known}. "
                f"Teach it with: extend add-modality {part.modality}"
            )
        return self.features.get(self.modalities[part.modality], self.encoder(part.modality), part)

    def project(self, name: str, features: Tensor) -> Tensor:
        """Features (B, T, F) of one modality -> tokens (B, T', D)."""
        tokens: Tensor = self.connectors[name](features.to(self.table.weight.device, torch.float32))
        return tokens.to(self.table.weight.dtype)

    def _spoken(self, part: Part) -> Tensor:
        """A media part in the backbone's terms, (T, D)."""
        features = self.media(part)
        key = self.features.key(self.encoder(part.modality), part) if self._recent.room else ""
        tokens = self._recent.get(key)
        if tokens is None:
            tokens = self.project(part.modality, features[None])[0]
            self._recent.put(key, tokens)
        return tokens

    def embed(self, parts: Sequence[Part]) -> Embedded:
        """The whole prompt, chat template around it, ready for an engine. Blocking: it runs encoders.

        Raises BadMedia, UnknownModality and PromptTooLong.
        """
        return self.converse([Turn("user", tuple(parts))])

    @torch.no_grad()
    def converse(self, turns: Sequence[Turn]) -> Embedded:
        """A conversation that the model is to go on with; see `embed`."""
        first, *frame = self.frame(tuple(turn.role for turn in turns))
        pieces = [self.words(first)]
        media_tokens: dict[str, int] = {}
        for turn, following in zip(turns, frame, strict=True):
            for part in turn.parts:
                if part.modality == TEXT:
                    assert isinstance(part.content, str), "A text part holds a string."
                    pieces.append(self.words(self.ids(part.content)))
                else:
                    tokens = self._spoken(part)  # (T, D)
                    media_tokens[part.modality] = media_tokens.get(part.modality, 0) + len(tokens)
                    pieces.append(tokens)
            pieces.append(self.words(following))
        embeds = torch.cat(pieces)  # (T, D)
        if len(embeds) >= self.max_tokens:
            raise PromptTooLong(
                f"The prompt has {len(embeds)} tokens, the model takes {self.max_tokens - 1} at most; "
                "shorten the text or send fewer files."
            )
        return Embedded(embeds, len(embeds) - sum(media_tokens.values()), media_tokens)

    def frame(self, roles: tuple[str, ...]) -> list[list[int]]:
        """What the backbone's chat template puts before, between and after the turns, as token ids.

        A conversation that brings no system message gets the checkpoint's own.
        """
        key = "\n".join(roles)
        if (known := self._frames.get(key)) is not None:
            return known
        messages = [{"role": role, "content": _HERE} for role in roles]
        if self.system is not None and "system" not in roles:
            messages.insert(0, {"role": "system", "content": self.system})
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        pieces = text.split(_HERE)
        assert len(pieces) == len(roles) + 1, "The template shows every message once."
        frame = [self.common.ids(piece, special=True) for piece in pieces]
        self._frames.put(key, frame)
        return frame

    def words(self, ids: Sequence[int]) -> Tensor:
        """Rows of the embedding table, (T, D)."""
        rows: Tensor = self.table(torch.tensor(ids, dtype=torch.long, device=self.table.weight.device))
        return rows


def load_tokenizer(folder: Path) -> Any:
    """The backbone's tokenizer, from its folder only."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
