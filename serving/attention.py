"""Grouped-query attention that reads each key and value where it lies.

transformers copies keys and values for every head of queries as soon as there is a mask; torch's CPU kernel
needs no copies and gives the same bits. It knows no request and no cache.

Shapes: B = sequences, H = heads of queries, G = heads of keys and values, Q = new tokens, L = all tokens,
W = width of a head.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

NAME = "grouped_sdpa"


def share_keys(model: Any) -> None:
    """Let a causal LM on a CPU use this attention, if it has groups and used torch's before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config.get_text_config()
    heads = config.num_attention_heads
    grouped = getattr(config, "num_key_value_heads", heads) < heads
    if grouped and model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attend(
    module: nn.Module,
    query: Tensor,  # (B, H, Q, W)
    key: Tensor,  # (B, G, L, W)
    value: Tensor,  # (B, G, L, W)
    attention_mask: Tensor | None,  # (B, 1, Q, L)
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: the mixed values (B, Q, H, W), and no weights."""
    assert not module.training, "This attention has no dropout; it is for serving."
    del rest
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        is_causal=attention_mask is None and query.shape[2] > 1,
        scale=scaling,
        enable_gqa=True,
    )
    return out.transpose(1, 2).contiguous(), None
