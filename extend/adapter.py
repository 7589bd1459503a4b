"""Δ as LoRA: put on all linear layers of the LLM by PEFT, trained, saved, taken off. It knows no modality."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from peft import LoraConfig, LoraModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from extend.recipe import Lora

STORED = torch.float16  # what is folded and served is what is stored


class Adapter:
    """A LoRA that is on the LLM inside a `with` block and gone after it; the LLM's own weights never move."""

    def __init__(self, llm: nn.Module, settings: Lora) -> None:
        self.config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules="all-linear",
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
        self._llm = llm

    def __enter__(self) -> Self:
        self._lora = LoraModel(self._llm, self.config, "default")
        for parameter in self.parameters:
            parameter.data = parameter.data.float()  # what is trained stays exact where the backbone is not
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lora.unload()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The A's and B's."""
        return [parameter for name, parameter in self._llm.named_parameters() if "lora_" in name]

    def pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """The name of each weight that changes, with A (r, in), and B (out, r) times the factor: B·A is added."""
        for name, module in self._llm.named_modules():
            if isinstance(module, LoraLayer):
                pair: Any = module.lora_A["default"], module.lora_B["default"]
                yield f"{name}.weight", pair[0].weight, module.scaling["default"] * pair[1].weight

    def save(self, folder: Path, base_llm: str) -> None:
        """adapter_config.json and adapter_model.safetensors, as PEFT reads them; the same weights, the same bytes."""
        state = get_peft_model_state_dict(self._lora)  # named from LoraModel on; PEFT's files begin one level above
        tensors = {"base_model." + key: value.detach().to("cpu", STORED).contiguous() for key, value in state.items()}
        config: dict[str, Any] = self.config.to_dict() | {"base_model_name_or_path": base_llm, "inference_mode": True}
        folder.mkdir(parents=True)
        save_file(dict(sorted(tensors.items())), folder / "adapter_model.safetensors")
        text = json.dumps(config, indent=1, sort_keys=True, default=_plain)
        (folder / "adapter_config.json").write_text(text + "\n")


def _plain(value: object) -> object:
    """Sets have no order of their own and would give the same adapter other bytes each time."""
    return sorted(value) if isinstance(value, set) else str(value)
