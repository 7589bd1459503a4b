"""In vLLM's worker: the weights of a checkpoint, set layer by layer between two steps of the engine.

vLLM mixes `Weights` into its worker class and calls its methods by name. A layer's new weights are always built
from θ_0 and the checkpoint's list, in its order, never by adding to or taking from what is there: a swap or a
rollback leaves the same bits as a cold start. It knows deltas and modules; no request, no modality.

Shapes: r = rank, in and out = a weight's columns and rows.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modalities.deltas import LowRank, added, read_delta, read_one
from serving.memory import trim

Spec = Sequence[tuple[str, float]]  # a checkpoint's list: adapter folder and scale, in order


class Linear(NamedTuple):
    """One of vLLM's linear modules and the checkpoint's weights that it holds: q, k and v are one here."""

    module: Any
    weights: tuple[str, ...]


class Weights:
    """The extension. `model_runner` and `model_config` are the worker's own."""

    model_runner: Any
    model_config: Any
    _staged: list[dict[str, LowRank]]

    def weights(self) -> list[list[str]]:
        """The names of the weights that can be set, layer by layer."""
        return [[name for linear in linears for name in linear.weights] for linears in self._layers]

    def stage(self, spec: Spec) -> None:
        """Read a checkpoint's deltas into memory; nothing that runs is touched."""
        self._staged = [read_delta(Path(folder), scale) for folder, scale in spec]

    @torch.no_grad()
    def fold(self, layer: int) -> None:
        """Set one layer to what is staged, and its LoRA slots to zero: requests that hold one notice nothing."""
        for linear in self._layers[layer]:
            module = getattr(linear.module, "base_layer", linear.module)
            self._set(module, [self._built(name) for name in linear.weights])
            for slot in getattr(linear.module, "lora_b_stacked", ()):
                slot.zero_()

    def lend(self, lent: bool) -> None:
        """Whether a LoRA is there. In eager mode vLLM's own way, a gather of weights for each token, is not taken.

        Without a LoRA the layers compute as if there were no room for one (empty slots cost a quarter on a CPU); with
        one, as two thin products over the tokens that have it. Compiled or captured code is left alone.
        """
        if not self.model_config.enforce_eager:
            return
        named: dict[int, _Named] = {}  # by the engine's own note of who names which LoRA: all modules share one
        for linear in chain.from_iterable(self._layers):
            if (base := getattr(linear.module, "base_layer", None)) is None:
                continue
            notes = linear.module.punica_wrapper
            vars(notes).pop("update_metadata", None)
            plain = partial(base.quant_method.apply, base)
            if not lent:
                linear.module.apply = plain
                continue
            if id(notes) not in named:
                named[id(notes)] = _Named(notes)
            linear.module.apply = partial(_beside, linear.module, plain, named[id(notes)])
        for one in named.values():
            one.follow()

    def drop(self) -> None:
        """Forget what was staged, and keep no room for the weights that were replaced."""
        self._staged = []
        trim()

    def _built(self, name: str) -> Tensor:
        """θ_0 and the staged list's share of one weight, (out, in), summed in float32, then rounded once."""
        weight = added(read_one(Path(self.model_config.model), name), (d[name] for d in self._staged if name in d))
        return weight.to(self.model_config.dtype)

    def _set(self, module: Any, parts: Sequence[Tensor]) -> None:
        if module.weight.numel():
            shards: Iterable[Any] = _shards(len(parts))
            for shard, part in zip(shards, parts, strict=True):
                arguments = () if shard is None else (shard,)
                module.weight_loader(module.weight, part.to(module.weight.device), *arguments)
            return
        # On a CPU vLLM keeps its weights packed for oneDNN and leaves `weight` empty: pack anew.
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        module.weight = nn.Parameter(torch.cat(list(parts)).contiguous(), requires_grad=False)
        dispatch_cpu_unquantized_gemm(module, remove_weight=True)

    @cached_property
    def _layers(self) -> list[list[Linear]]:
        """The linear modules of each layer, in order."""
        model = self.model_runner.get_model()
        packed = getattr(model, "packed_modules_mapping", {})
        layers: dict[int, list[Linear]] = {}
        for path, module in model.named_modules():
            head, _, last = path.rpartition(".")
            if last == "base_layer" or not hasattr(getattr(module, "base_layer", module), "weight_loader"):
                continue
            number = next((int(step) for step in head.split(".") if step.isdigit()), None)
            if number is not None:
                names = tuple(f"{head}.{part}.weight" for part in packed.get(last, [last]))
                layers.setdefault(number, []).append(Linear(module, names))
        return [layers[number] for number in sorted(layers)]


class _Named:
    """Which tokens of a step name the LoRA: found once when that changes, not once for each of the modules."""

    def __init__(self, notes: Any) -> None:
        self._notes = notes
        self._update = notes.update_metadata
        self.all = False
        self.rows = torch.empty(0, dtype=torch.long)

    def follow(self) -> None:
        """Look now, and again whenever the engine writes down who comes next."""
        self._notes.update_metadata = self.update
        self._look()

    def update(self, *arguments: Any, **named: Any) -> None:
        """In place of the engine's own `update_metadata`."""
        self._update(*arguments, **named)
        self._look()

    def _look(self) -> None:
        if self._notes.indices_len[0] is None:  # nothing has run yet
            return
        mine = self._notes.token_lora_indices >= 0  # (N,)
        self.all = bool(mine.all())
        self.rows = mine.nonzero()[:, 0]


def _beside(module: Any, plain: Callable[..., Tensor], named: _Named, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, in) -> (N, out): the base for all tokens, and the first slot's LoRA for those that name it."""
    out = plain(x, bias)
    if not len(named.rows):
        return out
    mine, start = x if named.all else x[named.rows], 0
    for a, b in zip(module.lora_a_stacked, module.lora_b_stacked, strict=True):  # (slots, 1, r, in), (slots, 1, out, r)
        end = start + b.shape[2]
        delta = (mine @ a[0, 0].T) @ b[0, 0].T  # (rows, out)
        if named.all:
            out[:, start:end] += delta
        else:
            out[named.rows, start:end] += delta
        start = end
    return out


def _shards(count: int) -> Sequence[Any]:
    """What vLLM calls the parts of a module that holds several weights."""
    return {1: (None,), 2: (0, 1), 3: ("q", "k", "v")}[count]
