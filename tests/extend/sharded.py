"""`extend` where accelerate takes CPUs for GPUs: `accelerate launch … -m tests.extend.sharded add-modality …`.

PyTorch's FSDP 2 shards on any device, accelerate only on GPUs. Here it believes that it has some; all else is what
runs there.
"""

from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType

from extend.__main__ import main

truthful = PartialState.__init__


def believing(self: Any, *args: Any, **kwargs: Any) -> None:
    """Processes on CPUs are processes on GPUs."""
    truthful(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


if __name__ == "__main__":
    PartialState.__init__ = believing
    main()
