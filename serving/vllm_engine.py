"""vLLM as the engine: embeddings in, token ids out. The only file that imports vllm (vllm_worker.py runs inside it).

It knows no modality and no checkpoint: weights are a list of deltas on one backbone, and one more list may be
served beside it as a LoRA. What is swapped when stands in vllm_swap.py.

Shapes: T = tokens, D = backbone width.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from safetensors.torch import save_file
from torch import Tensor

from modalities.deltas import PREFIX, LowRank, shapes
from serving.engine import EngineError, EngineStopped, Sampling

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has LoRA kernels for
# One LoRA at a time takes the first slot; the last has to stay empty. On a CPU vLLM gives requests without a LoRA the
# last slot's (index -1), so with one slot the old checkpoint's requests would be answered by the new one (vLLM's pull
# request 48421).
SLOTS = 2
DEFAULTS: dict[str, Any] = {
    "dtype": "bfloat16",
    "enforce_eager": True,  # compiling takes 100 s at each start and wins nothing on a CPU
    "block_size": 32,  # of the prefix cache; 128, a CPU's default, is longer than most prompts
    "max_num_seqs": 32,
    "enable_prefix_caching": True,
    "disable_log_stats": True,
}
# Of one step, on a CPU. A prompt's token costs about 1.5 ms there, so vLLM's own 2,048 at once would hold every running
# stream up for seconds; what does not fit goes on in the next step.
STEP_TOKENS = 128
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
MEMORY = Path("/dev/shm")  # where a LoRA is handed over without touching a disk

log = logging.getLogger(__name__)


class Vllm:
    """One running vLLM. Its methods belong to the event loop, `start` excepted."""

    def __init__(self, llm: Any, end_ids: Collection[int]) -> None:
        self._llm = llm
        self._end = frozenset(end_ids)
        self.width: int = llm.model_config.get_hidden_size()
        self.context: int = llm.model_config.max_model_len
        self.step_tokens: int = llm.vllm_config.scheduler_config.max_num_batched_tokens
        self.rank: int = llm.vllm_config.lora_config.max_lora_rank if llm.vllm_config.lora_config else 0
        self._model = Path(llm.model_config.model)
        self._failed = False

    @classmethod
    def start(cls, model: Path, end_ids: Collection[int], rank: int, arguments: Mapping[str, Any]) -> "Vllm":
        """Start the engine's processes on a backbone's folder. Blocking: it takes half a minute."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        lora = _lora(model, rank) if rank else {}
        chosen = {**DEFAULTS, **lora, **arguments}
        fixed = {
            "model": str(model),
            "skip_tokenizer_init": False,
            "enable_prompt_embeds": True,
            "worker_extension_cls": "serving.vllm_worker.Weights",
        }
        made = cls(AsyncLLM.from_engine_args(AsyncEngineArgs(**{**_step(chosen), **chosen, **fixed})), end_ids)
        # Hundreds of thousands of objects live from here to the end; looking through them all for garbage, which a
        # swap asks for, holds every stream up for most of a second.
        gc.collect()
        gc.freeze()
        return made

    @property
    def failure(self) -> str | None:
        """Why the engine takes no more requests, or None while it does."""
        dead = self._failed or self._llm is None or self._llm.errored
        return "The engine's process has died; it is being started again." if dead else None

    def fail(self) -> None:
        """Call it dead: its weights are in no state to serve."""
        self._failed = True

    async def stream(
        self, embeds: Tensor, sampling: Sampling, salt: str, lora: Any = None
    ) -> AsyncGenerator[int, None]:
        """Token ids that continue the prompt (T, D); see Engine.stream.

        `salt` keeps one checkpoint's prefix cache from the next one's.
        """
        if embeds.ndim != 2 or embeds.shape[1] != self.width or not 0 < len(embeds) < self.context:
            raise ValueError(
                f"A prompt of shape {tuple(embeds.shape)} does not fit (1..{self.context - 1}, {self.width})."
            )
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        llm = self._llm
        if llm is None:
            raise EngineStopped("The engine has been stopped; send the request again in a minute.")
        prompt = {"prompt_embeds": embeds.to(llm.model_config.dtype).contiguous(), "cache_salt": salt}
        try:
            (rendered,) = await llm.renderer.render_cmpl_async([prompt])
            outputs = llm.generate(rendered, self._parameters(sampling), uuid4().hex, lora_request=lora)
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    for token in output.outputs[0].token_ids:
                        if token not in self._end:
                            yield token
        except EngineDeadError:
            raise EngineStopped("The engine's process died at this request; send it again in a minute.") from None
        except EngineGenerateError as error:
            log.error("vLLM could not serve a request", exc_info=error)
            raise EngineError("The engine failed at this request; send it again.") from None

    def _parameters(self, sampling: Sampling) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            seed=sampling.seed if sampling.temperature else None,
            detokenize=False,
            ignore_eos=True,
            stop_token_ids=sorted(self._end),
            output_kind=RequestOutputKind.DELTA,
        )

    # Weights ----------------------------------------------------------------------------------------------------

    async def weights(self) -> list[dict[str, tuple[int, ...]]]:
        """The weights that can be set, layer by layer, by name, and their shapes (out, in)."""
        known = await asyncio.to_thread(shapes, self._model)
        return [{name: known[name] for name in names} for names in await self._call("weights")]

    async def stage(self, spec: Sequence[tuple[str, float]]) -> None:
        """Have the worker read a list of deltas: adapter folders and their scales, in order."""
        await self._call("stage", [list(one) for one in spec])

    async def fold(self, layer: int) -> None:
        """Set one layer to what is staged, between two steps."""
        await self._call("fold", layer)

    async def drop(self) -> None:
        """Let the worker forget what was staged."""
        await self._call("drop")

    async def add_lora(self, name: str, delta: Mapping[str, LowRank]) -> Any:
        """Load a delta beside the weights; returns what `stream` takes as `lora`."""
        from vllm.lora.request import LoRARequest

        home = MEMORY if MEMORY.is_dir() else None
        with TemporaryDirectory(prefix="lora-", dir=home) as folder:
            await asyncio.to_thread(_write, delta, Path(folder))
            # A path that was never used before: vLLM's prefix cache tells LoRAs apart by it.
            request = LoRARequest(name, 1, folder)
            await self.lend(True)
            try:
                await self._llm.add_lora(request)
            except BaseException:
                await self.lend(False)
                raise
        return request

    async def remove_lora(self, lora: Any) -> None:
        """Take it away again; nobody may name it any more."""
        await self._llm.remove_lora(lora.lora_int_id)
        await self.lend(False)

    async def lend(self, lent: bool) -> None:
        """Let the room for a LoRA cost nothing while there is none."""
        await self._call("lend", lent)

    async def _call(self, method: str, *arguments: Any) -> Any:
        return (await self._llm.collective_rpc(method, args=arguments))[0]

    async def close(self) -> None:
        """End its processes; whoever still waits gets EngineStopped."""
        llm, self._llm = self._llm, None  # whatever keeps this object: vLLM's own ends here, not at the exit
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)


def rank_for(ranks: Collection[int]) -> int:
    """The smallest rank that vLLM has kernels for and all of these fit in; 0 when there is none."""
    wanted = max(ranks, default=RANKS[0])
    return next((rank for rank in RANKS if rank >= wanted), 0)


def _step(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """How many tokens a step takes, at least one for each request; on a GPU, or with prompts whole, vLLM's own."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu() or chosen.get("enable_chunked_prefill") is False:
        return {}
    return {"max_num_batched_tokens": max(STEP_TOKENS, chosen["max_num_seqs"])}


def _lora(model: Path, rank: int) -> dict[str, Any]:
    """Room for one LoRA on every linear layer.

    Not on the embedding: of prompts that are embeddings vLLM looks up only what it has said itself, and its LoRA of the
    embedding takes those few tokens for all of the step and fails.
    """
    steps = {tuple(name.split(".")): shape for name, shape in shapes(model).items()}
    linear = {step[-2] for step, shape in steps.items() if len(shape) == 2 and any(one.isdigit() for one in step)}
    slots = {"max_loras": SLOTS, "max_cpu_loras": SLOTS, "max_lora_rank": rank}
    return {"enable_lora": True, "lora_target_modules": sorted(linear), **slots}


def _write(delta: Mapping[str, LowRank], folder: Path) -> None:
    """As a PEFT adapter with scale one."""
    tensors, rank = {}, 1
    for name, part in delta.items():
        stem = PREFIX + name.removesuffix(".weight")
        tensors[f"{stem}.lora_A.weight"] = part.a.float().contiguous()
        tensors[f"{stem}.lora_B.weight"] = (part.factor * part.b.float()).contiguous()
        rank = len(part.a)
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({name.removesuffix(".weight").rpartition(".")[2] for name in delta})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "r": rank, "lora_alpha": rank}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": targets}))
