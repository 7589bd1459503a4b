"""A KV cache with room behind the last column, so that a step writes one column and does not copy all the others.

It knows no sequence and no padding.

Shapes: B = sequences, G = heads of keys and values, L = columns, W = width of a head.
"""

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64  # columns


class RoomyLayer(DynamicLayer):
    """One layer's keys and values: views (B, G, L, W) of buffers that are up to ROOM columns longer."""

    _buffers: tuple[Tensor, Tensor]

    def place(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Hold these, in memory of their own with room behind them."""
        self._buffers = _roomy(keys), _roomy(values)
        return self._show(keys.shape[2])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns, as transformers calls it: all keys and values."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            return self.place(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self.place(*self._show(begin))
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = new
        return self._show(end)

    def _show(self, columns: int) -> tuple[Tensor, Tensor]:
        keys, values = self._buffers
        self.keys, self.values = keys[:, :, :columns], values[:, :, :columns]
        return self.keys, self.values


def roomy_cache() -> Any:
    """An empty cache for any number of layers."""
    return Cache(layer_class_to_replicate=RoomyLayer)


def _roomy(tensor: Tensor) -> Tensor:
    batch, heads, columns, width = tensor.shape
    buffer = tensor.new_empty(batch, heads, columns + ROOM, width)
    buffer[:, :, :columns] = tensor
    return buffer
