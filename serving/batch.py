"""The running sequences as one batch: a left-padded KV cache that sequences join and leave between steps.

The cache is always as wide as the longest sequence in it, so lengths alone say what is padding. It knows no
request, no sampling and no thread.

Shapes: B = sequences, N = those that join, L = longest length, T = tokens of one prompt, D = backbone width,
V = vocabulary, H = key/value heads, W = width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


class Batch:
    """Sequences that are decoded together. Rows keep the order in which they joined."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._table = model.get_input_embeddings()
        self._cache: Any = None
        self.lengths: list[int] = []  # B

    def __len__(self) -> int:
        return len(self.lengths)

    def join(self, prompts: Sequence[Tensor]) -> Tensor:
        """Add prompts, (T, D) each, below the rows that are here: logits of their first tokens, (N, V)."""
        from serving.cache import roomy_cache

        lengths = [len(prompt) for prompt in prompts]
        width = max(lengths)
        weight = self._table.weight
        rows = [pad(prompt.to(weight.device, weight.dtype), (0, 0, width - len(prompt), 0)) for prompt in prompts]
        cache = roomy_cache()
        places = torch.arange(width, device=weight.device)[None] - width + self._tensor(lengths)[:, None]  # (N, L)
        logits = self._forward(cache, lengths, places.clamp_min(0), inputs_embeds=torch.stack(rows))  # (N, V)
        self._merge(cache)
        self.lengths += lengths
        return logits

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token to every row: logits of the next, (B, V)."""
        self.lengths = [length + 1 for length in self.lengths]
        places = self._tensor(self.lengths)[:, None] - 1  # (B, 1)
        return self._forward(self._cache, self.lengths, places, input_ids=self._tensor(tokens)[:, None])

    def keep(self, rows: Sequence[int]) -> None:
        """Let every other row leave, and the padding that only they needed."""
        if len(rows) == len(self):
            return
        before = max(self.lengths)
        self.lengths = [self.lengths[row] for row in rows]
        if not rows:
            self._cache = None
            return
        index, spare = self._tensor(rows), before - max(self.lengths)
        for layer in self._cache.layers:
            keys, values = layer.keys[:, :, spare:], layer.values[:, :, spare:]
            layer.place(keys.index_select(0, index), values.index_select(0, index))  # (B, H, L, W)

    def _forward(self, cache: Any, lengths: Sequence[int], positions: Tensor, **given: Tensor) -> Tensor:
        """One pass over new columns; `lengths` count them in."""
        width = max(lengths)
        columns = torch.arange(width, device=positions.device)[None]  # (1, L)
        mask = columns >= width - self._tensor(lengths)[:, None]  # (B, L)
        out = self.model(
            **given,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _merge(self, cache: Any) -> None:
        """Put another cache's rows below ours, both padded to the same width."""
        if self._cache is None:
            self._cache = cache
            return
        for ours, theirs in zip(self._cache.layers, cache.layers, strict=True):
            ours.place(_below(ours.keys, theirs.keys), _below(ours.values, theirs.values))

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self._table.weight.device)


def _below(ours: Tensor, theirs: Tensor) -> Tensor:
    """(B, H, L, W) over (N, H, L', W), left-padded to the longer."""
    width = max(ours.shape[2], theirs.shape[2])
    return torch.cat([pad(one, (0, 0, width - one.shape[2], 0)) for one in (ours, theirs)])
