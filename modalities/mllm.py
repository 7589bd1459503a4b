"""The whole model: embedder + LLM, its loss, and what can be trained of it.

It does not know how it is trained (extend/train.py) nor how it is served (serving/).

Samples about the same media share one prefix: a row holds it once, and each question with its answer follows
as a segment that sees the prefix and itself only. The loss is the same as with one row a sample, at about half
the tokens.

Shapes: B = rows, L = row length, T = media tokens, F = encoder width, D = backbone width, V = vocabulary.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from modalities.base import TEXT, Part, Sample
from modalities.embedder import Embedder

IGNORED = -100
ROW_TOKENS = 512  # where one prefix has more questions than this holds, another row begins


@dataclass
class Row:
    """One prefix and the segments that share it."""

    ids: list[int] = field(default_factory=list)  # L; 0 where a media token stands
    media: list[tuple[int, Part]] = field(default_factory=list)  # where each media part begins
    positions: list[int] = field(default_factory=list)  # L
    segments: list[int] = field(default_factory=list)  # L; 0 = the prefix
    labels: list[int] = field(default_factory=list)  # L; the token that follows, or IGNORED
    weights: list[float] = field(default_factory=list)  # L; what a label counts in the loss: 1 / its answer's length


class MLLM(nn.Module):
    """θ = {encoders (frozen), connectors, one shared LLM} (paper §3)."""

    def __init__(self, llm: Any, embedder: Embedder) -> None:
        super().__init__()
        self.llm = llm
        self.embedder = embedder

    @property
    def device(self) -> torch.device:
        """Where the backbone lives."""
        return self.embedder.table.weight.device

    def forward(self, samples: Sequence[Sample]) -> Tensor:
        """The loss, so that accelerate can wrap the model. Every connector in training has a part in it, if only zero:

        of several processes one may be shown no sound, and yet all have to send the same gradients around.
        """
        trained = [p.sum() for p in self.embedder.connectors.parameters() if p.requires_grad]
        return self.loss(samples) + 0.0 * sum(trained)

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        """Autoregressive loss on the answers alone: a mean over each answer's tokens, then over the samples, a scalar.

        A mean over all tokens would let captions, ten times as long, drown the answers of one word (docs/log.md); and
        only a mean over samples is the same however a batch is split.
        """
        rows = self.rows(samples)
        embeds, mask, positions, labels, weights = self._batch(rows)
        hidden = self.llm.base_model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False)
        wanted = labels != IGNORED  # (B, L)
        logits = self.llm.get_output_embeddings()(hidden.last_hidden_state[wanted])  # (answer tokens, V)
        losses = nn.functional.cross_entropy(logits.float(), labels[wanted], reduction="none")
        return (losses * weights[wanted]).sum() / len(samples)

    def rows(self, samples: Sequence[Sample]) -> list[Row]:
        """Pack samples into rows: those with the same leading media share one."""
        lead = {id(sample): _lead(sample) for sample in samples}
        order = {key: place for place, key in reversed(list(enumerate(lead.values())))}
        rows: list[Row] = []
        for prefix, group in groupby(sorted(samples, key=lambda s: order[lead[id(s)]]), key=lambda s: lead[id(s)]):
            row: Row | None = None
            for number, sample in enumerate(group, start=1):
                prompt, answer = self._segment(sample, len(prefix))
                # Text alone has nothing to share: in one row each would attend, masked, to all the others.
                if row is None or not prefix or len(row.ids) + len(prompt) + len(answer) > ROW_TOKENS:
                    row = self._prefix(prefix)
                    rows.append(row)
                start = row.segments.count(0)
                row.positions += range(start, start + len(prompt) + len(answer) - 1)
                row.ids += prompt + answer[:-1]
                row.segments += [number] * (len(prompt) + len(answer) - 1)
                row.labels += [IGNORED] * (len(prompt) - 1) + answer
                row.weights += [0.0] * (len(prompt) - 1) + [1 / len(answer)] * len(answer)
        return rows

    def _prefix(self, parts: tuple[Part, ...]) -> Row:
        row = Row(ids=list(self.embedder.before))
        for part in parts:
            if part.modality == TEXT:
                row.ids += self.embedder.ids(str(part.content))
            else:
                row.media.append((len(row.ids), part))
                row.ids += [0] * self._tokens(part)
        row.positions = list(range(len(row.ids)))
        row.segments = [0] * len(row.ids)
        row.labels = [IGNORED] * len(row.ids)
        row.weights = [0.0] * len(row.ids)
        return row

    def _segment(self, sample: Sample, lead: int) -> tuple[list[int], list[int]]:
        text = "".join(str(part.content) for part in sample.prompt[lead:])
        end = [self.embedder.tokenizer.eos_token_id] if sample.whole else []
        return self.embedder.ids(text) + self.embedder.after, self.embedder.ids(sample.answers[0]) + end

    def _tokens(self, part: Part) -> int:
        """How many tokens the connector makes of this part."""
        connector = self.embedder.connectors[part.modality]
        return int(getattr(connector, "tokens", 0)) or len(self.embedder.media(part))

    def _batch(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        longest = max(len(row.ids) for row in rows)

        def padded(name: str, filler: float) -> Tensor:
            values = [getattr(row, name) + [filler] * (longest - len(row.ids)) for row in rows]
            return torch.tensor(values, device=self.device)  # (B, L)

        embeds = self.embedder.table(padded("ids", 0)).clone()  # (B, L, D)
        media = [(index, start, part) for index, row in enumerate(rows) for start, part in row.media]
        for (index, start, _), tokens in zip(media, self.tokens([part for _, _, part in media]), strict=True):
            embeds[index, start : start + len(tokens)] = tokens
        segments = padded("segments", -1)  # (B, L)
        same = (segments[:, None, :] == segments[:, :, None]) | (segments[:, None, :] == 0)  # (B, L, L)
        mask = (same & torch.ones(longest, longest, dtype=torch.bool, device=self.device).tril())[:, None]
        # mask: (B, 1, L, L)
        return embeds, mask, padded("positions", 0), padded("labels", IGNORED), padded("weights", 0.0)

    def tokens(self, parts: Sequence[Part]) -> list[Tensor]:
        """Each media part's tokens, (T, D); one connector pass for all of a kind and length."""
        features = [self.embedder.media(part) for part in parts]  # (T, F) each
        alike: dict[tuple[str, int], list[int]] = defaultdict(list)
        for place, (part, one) in enumerate(zip(parts, features, strict=True)):
            alike[part.modality, len(one)].append(place)
        out: dict[int, Tensor] = {}
        for (name, _), places in alike.items():
            projected = self.embedder.project(
                name, torch.stack([features[place].float() for place in places])
            )  # (B, T, D)
            out |= zip(places, projected, strict=True)
        return [out[place] for place in range(len(parts))]


def _lead(sample: Sample) -> tuple[Part, ...]:
    """The prompt up to its last media part: what samples of one row share."""
    last = max((place for place, part in enumerate(sample.prompt, start=1) if part.modality != TEXT), default=0)
    return sample.prompt[:last]
