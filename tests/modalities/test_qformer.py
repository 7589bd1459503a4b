"""The Q-Former: LAVIS's network under LAVIS's names, and a start from BERT."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, Blip2QFormerConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

from modalities.assets import AssetError
from modalities.qformer import BERT, QFormer
from tests.modalities import golden

SMALL: dict[str, Any] = {"hidden": 16, "layers": 2, "heads": 2, "inner": 32, "queries": 4}


def bert(layers: int = 2, width: int = 16) -> BertModel:
    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * width, vocab_size=50
    )
    model: BertModel = BertModel(config).eval()
    return model


def as_published(model: BertModel) -> dict[str, torch.Tensor]:
    """As bert-base-uncased lies on the hub: norms by their old names, and the heads of its pre-training beside it."""
    names = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    found = {}
    for key, value in model.state_dict().items():
        for new, old in names.items():
            key = key.replace(new, old)
        found[f"bert.{key}"] = value.clone()
    return found | {"cls.predictions.bias": torch.zeros(50), "cls.seq_relationship.weight": torch.zeros(2, 16)}


def test_it_computes_what_lavis_computes_under_lavis_s_names() -> None:
    """Golden: BLIP-2's own Qformer.py at its real widths, two layers (docs/paper.md)."""
    wanted = golden.shapes("qformer")
    big = {key for key in wanted if "_embeddings." in key}
    weights = golden.weights({key: shape for key, shape in wanted.items() if key not in big})
    weights |= {key: torch.zeros(1) for key in big}  # of the text branch, not taken
    qformer = QFormer(768, 8, layers=2).eval()
    qformer.take(weights, "blip2")
    features = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 50, 768)).astype(np.float32))
    with torch.no_grad():
        read = qformer.qformer(query_embeds=qformer.query_tokens, encoder_hidden_states=features).last_hidden_state
    assert (read[0, ::4] - golden.outputs("qformer")["queries"]).abs().max() < 1e-4


def test_from_bert_it_reads_like_bert_while_cross_attention_says_nothing() -> None:
    model, qformer = bert(), QFormer(12, 8, **SMALL).eval()
    qformer.take(as_published(model), "bert")
    with torch.no_grad():
        layers: Any = qformer.qformer.encoder.layer
        for layer in layers:
            if layer.has_cross_attention:  # its output is then the norm of what is normed already
                layer.crossattention.output.dense.weight.zero_()
                layer.crossattention.output.dense.bias.zero_()
        normed = model.embeddings.LayerNorm(qformer.query_tokens)
        expected = model.encoder(normed).last_hidden_state
        found = qformer.qformer(query_embeds=qformer.query_tokens, encoder_hidden_states=torch.randn(1, 5, 12))
    assert (found.last_hidden_state - expected).abs().max() < 1e-4


def test_bert_base_fits_the_paper_s_q_former_with_none_missing_and_none_left_over() -> None:
    """bert-base-uncased's shape, names and heads; no numbers are needed for that."""
    with torch.device("meta"):
        published, qformer = as_published(BertModel(BertConfig())), QFormer(768, 4096)
        qformer.take(published, "bert-base-uncased")
        assert len([key for key in published if key.startswith("bert.encoder.layer.")]) == 12 * 16
        del published["bert.encoder.layer.11.output.dense.bias"]
        with pytest.raises(AssetError, match=r"bert-base-uncased lacks encoder\.layer\.11\.output_query\.dense\.bias"):
            qformer.take(published, "bert-base-uncased")


def test_a_blip2_of_transformers_is_taken_with_its_queries() -> None:
    torch.manual_seed(2)
    config = Blip2QFormerConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, encoder_hidden_size=12
    )
    reference = Blip2QFormerModel(config).eval()
    queries, features = torch.randn(1, 4, 16), torch.randn(3, 7, 12)
    weights = {f"qformer.{key}": value for key, value in reference.state_dict().items()} | {"query_tokens": queries}
    weights |= {"language_projection.weight": torch.zeros(5, 16), "vision_model.x": torch.zeros(1)}  # the rest of it
    qformer = QFormer(12, 8, **SMALL).eval()
    qformer.take(weights, "blip2")
    with torch.no_grad():
        expected = reference(query_embeds=queries.expand(3, -1, -1), encoder_hidden_states=features).last_hidden_state
        assert torch.equal(qformer(features), qformer.projection(expected))


def test_any_number_of_features_becomes_32_tokens() -> None:
    qformer = QFormer(12, 8, hidden=16, layers=1, heads=2, inner=32)
    assert qformer.tokens == 32
    assert {tuple(qformer(torch.randn(2, count, 12)).shape) for count in (1, 50)} == {(2, 32, 8)}


def test_what_bert_lacks_is_named_and_so_is_what_is_left_over() -> None:
    weights = as_published(bert())
    gone = "bert.encoder.layer.1.attention.self.query.weight"
    with pytest.raises(AssetError, match=r"lacks encoder\.layer\.1\.attention\.attention\.query\.weight"):
        QFormer(12, 8, **SMALL).take({key: value for key, value in weights.items() if key != gone}, "bert")
    with pytest.raises(AssetError, match=r"has what this network does not: encoder\.layer\.9"):
        QFormer(12, 8, **SMALL).take({**weights, "bert.encoder.layer.9.x": torch.zeros(1)}, "bert")
    with pytest.raises(AssetError, match="shape"):
        QFormer(12, 8, **SMALL | {"inner": 48}).take(weights, "bert")


def test_the_start_is_read_from_a_folder_of_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "assets" / BERT
    folder.mkdir(parents=True)
    model = bert()
    save_file(as_published(model), folder / "model.safetensors")
    qformer = QFormer(12, 8, **SMALL)
    qformer.pretrained(tmp_path)
    own = qformer.qformer.state_dict()["encoder.layer.1.intermediate_query.dense.weight"]
    assert torch.equal(own, model.state_dict()["encoder.layer.1.intermediate.dense.weight"])
