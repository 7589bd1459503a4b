"""The Q-Former (Li et al., 2023): a fixed number of learned queries read an encoder's features by cross-attention.

BLIP-2's network as transformers has it, queries before it and a projection to the backbone after it. It starts from
bert-base-uncased, as BLIP-2 did: self-attention and feed-forward are BERT's, cross-attention and queries are new.
It knows no modality.

Shapes: B = batch, T = features of a file, Q = queries, F = encoder width, H = width inside, D = backbone width.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

from modalities.assets import AssetError
from modalities.weights import fill, locate, tensors

BERT = "google-bert/bert-base-uncased"
QUERIES = 32
UNUSED = r"(bert\.)?(embeddings\.(word|position|token_type)_emb|embeddings\.position_ids|pooler\.)|cls\."  # of BERT
TEXT_BRANCH = r"encoder\.layer\.\d+\.(intermediate|output)\."  # BLIP-2's own, beside the queries'


class QFormer(nn.Module):
    """Features (B, T, F) -> Q tokens (B, Q, D), however many features there are."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        *,
        queries: int = QUERIES,
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
        inner: int = 3072,
        start: str = BERT,
    ) -> None:
        super().__init__()
        self.tokens = queries  # Q
        self.start = start
        self.config = Blip2QFormerConfig(
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=inner,
            encoder_hidden_size=width_in,
            cross_attention_frequency=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.query_tokens = nn.Parameter(torch.randn(1, queries, hidden) * self.config.initializer_range)  # (1, Q, H)
        self.qformer = Blip2QFormerModel(self.config)
        self.projection = nn.Linear(hidden, width_out)

    def forward(self, features: Tensor) -> Tensor:
        queries = self.query_tokens.expand(len(features), -1, -1)  # (B, Q, H)
        read = self.qformer(query_embeds=queries, encoder_hidden_states=features)
        tokens: Tensor = self.projection(read.last_hidden_state)  # (B, Q, D)
        return tokens

    def pretrained(self, store: Path) -> None:
        """Start from published weights, once, before anything is trained. Raises AssetError."""
        self.take(tensors(locate(store, self.start)), Path(self.start).name)

    def take(self, published: Mapping[str, Tensor], what: str) -> None:
        """Weights under BERT's, BLIP-2's (transformers) or LAVIS's names; what BERT does not have stays new."""
        known = {_name(key): value for key, value in _qformer(published).items()}
        if not any(".intermediate_query." in name for name in known):  # BERT: its feed-forward becomes the queries'
            known = {re.sub(r"(\.\d+)\.(intermediate|output)\.", r"\1.\2_query.", k): v for k, v in known.items()}
        known = {name: value for name, value in known.items() if not re.match(TEXT_BRANCH, name)}
        own = self.qformer.state_dict()
        if not any(".crossattention." in name for name in known):
            known |= {name: value for name, value in own.items() if ".crossattention." in name}
        queries = known.pop("query_tokens", self.query_tokens.detach())
        if queries.shape != self.query_tokens.shape:
            raise AssetError(f"{what} has {queries.shape[1]} queries of {queries.shape[2]}, here are {self.tokens}.")
        fill(self.qformer, known, what)
        with torch.no_grad():
            self.query_tokens.copy_(queries)


def _qformer(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The Q-Former's share of a whole BLIP-2, or BERT without its embeddings and heads."""
    own = {key: value for key, value in published.items() if re.match(r"[Qq]former\.|query_tokens$", key)}
    chosen = {re.sub(r"^[Qq]former\.", "", key): value for key, value in (own or published).items()}
    return {key: value for key, value in chosen.items() if not re.match(UNUSED, key)}


def _name(published: str) -> str:
    """BERT's and LAVIS's key under the name that transformers gives it."""
    name = published.removeprefix("bert.").replace("embeddings.LayerNorm.", "layernorm.")
    name = re.sub(r"\.(attention|crossattention)\.self\.", r".\1.attention.", name)
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
