"""A checkpoint for others: merged full weights that transformers and vLLM load, or one PEFT adapter.

The LLM is what is exported; connectors and the manifest go beside it. It knows no modality and no server.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from extend import RunError
from extend.machine import DTYPES
from modalities.assemble import folded
from modalities.checkpoint import MANIFEST, Checkpoint, Store, aside
from modalities.weights import tensors
from modalities.woven import refuse


def export(store: Store, id: str, target: Path, *, form: str = "merged", precision: str = "float32") -> list[str]:
    """Write a checkpoint to a new folder; returns the names of its files. Raises RunError."""
    forms = {"merged": _merged, "adapter": _adapter}
    if form not in forms:
        gguf = " A GGUF is made of the merged one by llama.cpp's convert_hf_to_gguf.py." if form == "gguf" else ""
        raise RunError(f"No form {form!r}; there are: {', '.join(forms)}.{gguf}")
    if precision not in DTYPES:
        raise RunError(f"No precision {precision!r}; there are: {', '.join(DTYPES)}.")
    if target.exists():
        raise RunError(f"{target.name} is there already; name a folder that is not.")
    checkpoint = store.load(id)
    refuse(store, checkpoint, "a plain LLM", "export one that another method made.")
    with aside(target) as folder:
        forms[form](store, checkpoint, folder, DTYPES[precision])
        shutil.copytree(store.folder(id) / "connectors", folder / "connectors", dirs_exist_ok=True)
        shutil.copyfile(store.folder(id) / MANIFEST, folder / MANIFEST)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def _merged(store: Store, checkpoint: Checkpoint, folder: Path, precision: torch.dtype) -> None:
    """A Hugging Face folder: the backbone with every delta folded in float32, then rounded once."""
    model = folded(store, checkpoint)
    model.llm.to(precision).save_pretrained(folder)
    model.embedder.tokenizer.save_pretrained(folder)


def _adapter(store: Store, checkpoint: Checkpoint, folder: Path, precision: torch.dtype) -> None:
    """One LoRA: a sum of LoRAs is the concatenation of their ranks, each with its own scale (alpha = rank)."""
    if not checkpoint.deltas:
        raise RunError(f"{checkpoint.id} has no delta, its LLM is the backbone itself; export it as merged.")
    pairs: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    for delta in checkpoint.deltas:
        source = store.folder(checkpoint.id) / delta.path
        config: dict[str, Any] = json.loads((source / "adapter_config.json").read_text())
        found = tensors(source / "adapter_model.safetensors")
        for key in (key for key in found if key.endswith(".lora_A.weight")):
            up, down = pairs.setdefault(key, ([], []))
            up.append(found[key].float())
            factor = delta.scale * config["lora_alpha"] / config["r"]
            down.append(factor * found[key.replace(".lora_A.", ".lora_B.")].float())
    rank = max(sum(len(one) for one in up) for up, _ in pairs.values())
    weights = {}
    for key, (up, down) in pairs.items():
        a, b = torch.cat(up), torch.cat(down, 1)
        weights[key] = _padded(a, (rank, a.shape[1])).to(precision)
        weights[key.replace(".lora_A.", ".lora_B.")] = _padded(b, (b.shape[0], rank)).to(precision)
    save_file(weights, folder / "adapter_model.safetensors")
    config |= {"r": rank, "lora_alpha": rank, "base_model_name_or_path": checkpoint.base_llm}
    config |= {"target_modules": sorted({key.split(".")[-3] for key in pairs})}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _padded(value: Tensor, shape: tuple[int, int]) -> Tensor:
    """The same with zeros below and to the right: ranks that do nothing."""
    out = torch.zeros(shape)
    out[: value.shape[0], : value.shape[1]] = value
    return out
