"""A model over several processes, each with a piece of every weight (FSDP), by the user's accelerate configuration.

Sharding replaces the weights inside the modules that it is given, so those are a twin's: the model that the next phase
goes on with stays whole, and what was trained comes back into it. It knows no phase and no modality.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from modalities.mllm import MLLM


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the user's configuration asks for FSDP."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


@contextmanager
def trainee(model: MLLM, accelerator: Accelerator) -> Iterator[MLLM]:
    """What is to be trained: the model itself, or its twin, whose trained weights are put back into it at the end."""
    if not is_sharded(accelerator):
        yield model
        return
    other = twin(model)
    yield other
    with torch.no_grad():
        for own, trained in zip(model.parameters(), other.parameters(), strict=True):
            if own.requires_grad:
                piece: Any = trained
                own.copy_(piece.full_tensor())  # every process asks for it: the pieces are sent around


def twin(model: MLLM) -> MLLM:
    """The same weights and files in modules of their own."""
    alias: dict[int, Any] = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    llm, connectors = copy.deepcopy((model.llm, model.embedder.connectors), alias)
    embedder = copy.copy(model.embedder)
    embedder._modules = {"table": llm.get_input_embeddings(), "connectors": connectors}
    made = MLLM(llm, embedder)
    made._no_split_modules = model.llm._no_split_modules  # which layers accelerate shards one by one, if nobody says so
    return made
