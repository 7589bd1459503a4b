"""How fast is an answer? Our server on either engine, against vLLM's own server on the same backbone, in one run.

    python bench/serve.py --store store --checkpoint 0001-image-mera-… --concurrency 16 --rounds 5

All servers are up at once and take turns, round by round, so that a slow minute of the machine hits each alike; those
whose turn it is not are stopped (SIGSTOP), for an idle vLLM is not quite idle.
Every server is asked for as many tokens after as many prompt tokens: vLLM's own, which knows no pictures, gets token
ids in their place. Media are warm in the encoder cache. Prints JSON: tokens a second, time to first token and
between tokens, each as the median of the rounds, and the ratios.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from servers import server

from modalities.backbone import backbone
from modalities.checkpoint import Store

TEXTS = ("What kind of thing is this?", "Describe this.", "What do you see in this picture?", "Count what you see.")
LONG = "Write a long story about a fox, a river and an old bridge."
VLLM_LIKE_OURS = ("--dtype=bfloat16", "--enforce-eager", "--max-num-seqs=32", "--block-size=32")


@dataclass(frozen=True)
class Job:
    """One request: what our server is asked, and how many tokens that is and gives."""

    body: dict[str, Any]
    prompt_tokens: int = 0
    tokens: int = 0


@dataclass
class Round:
    """What the clients saw in one round."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens a second, all clients together."""
        return self.tokens / self.seconds

    @property
    def gap(self) -> float:
        """Seconds between two tokens, the median."""
        return statistics.median(self.gaps)


def jobs(media: Sequence[str], count: int, tokens: int) -> list[Job]:
    """Requests of different kinds, in an order that is the same each time."""
    named = [one.partition("=") for one in media]
    files = [{name: base64.b64encode(Path(path).read_bytes()).decode()} for name, _, path in named]
    random_, made = random.Random(0), []
    for number in range(count):
        text = {"text": LONG if number % 2 else random_.choice(TEXTS)}
        prompt = [text] if number % 4 == 3 else [random_.choice(files), text]
        made.append(Job({"prompt": prompt, "max_tokens": tokens, "stream": True}))
    return made


async def ours(http: httpx.AsyncClient, job: Job) -> AsyncIterator[int]:
    """Tokens so far, at each event of a stream of /generate."""
    seen = 0
    async for event in events(http, "/generate", job.body):
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        if "done" in event:
            usage = event["done"]["usage"]
            yield usage["completion_tokens"]
            return
        yield (seen := seen + 1)


async def theirs(http: httpx.AsyncClient, job: Job) -> AsyncIterator[int]:
    """The same of vLLM's own server: as many token ids in, as many tokens out."""
    random_ = random.Random(job.prompt_tokens)  # like prompts share a prefix there too
    body = {
        "model": "backbone",
        "prompt": [random_.randrange(1000, 40000) for _ in range(job.prompt_tokens)],
        "max_tokens": job.tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    seen = 0
    async for event in events(http, "/v1/completions", body):
        if event.get("usage"):
            yield event["usage"]["completion_tokens"]
            return
        yield (seen := seen + 1)


async def events(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each server-sent event."""
    async with http.stream("POST", path, json=body) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {(await answer.aread())[:200]!r}")
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


async def load(url: str, ask: Any, work: Sequence[Job], concurrency: int) -> Round:
    """All requests, so many at once."""
    seen, queue = Round(), list(reversed(work))
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as http:

        async def client() -> None:
            while queue:
                job = queue.pop()
                last, first, count = time.perf_counter(), True, 0
                async for so_far in ask(http, job):
                    now, count = time.perf_counter(), so_far
                    (seen.first if first else seen.gaps).append(now - last)
                    last, first = now, False
                seen.tokens += count

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(concurrency)))
        seen.seconds = time.perf_counter() - began
    return seen


async def measured(url: str, work: Sequence[Job]) -> list[Job]:
    """The same requests with what they cost on our vLLM server, asked one after the other."""
    found = []
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as http:
        for job in work:
            async for event in events(http, "/generate", job.body):
                if "done" in event:
                    usage = event["done"]["usage"]
                    found.append(Job(job.body, usage["prompt_tokens"], usage["completion_tokens"]))
    return found


def commands_of(options: argparse.Namespace) -> dict[str, tuple[list[str], str, Any]]:
    """The servers by name, first the one to compare: command, where it is ready, how it is asked."""
    serving = ["serving", "--store", str(options.store), "--checkpoint", options.checkpoint]
    if options.against:
        other = [*serving[:-1], options.against]
        return {one[-1]: ([*one, "--engine", "vllm"], "/readyz", ours) for one in (serving, other)}
    bare = ["vllm.entrypoints.openai.api_server", "--served-model-name", "backbone", *VLLM_LIKE_OURS]
    base = Store(options.store).manifest(options.checkpoint).base_llm
    commands: dict[str, tuple[list[str], str, Any]] = {
        "ours on vLLM": ([*serving, "--engine", "vllm"], "/readyz", ours),
        "ours on transformers": ([*serving, "--engine", "transformers"], "/readyz", ours),
        "vLLM alone": ([*bare, "--model", str(backbone(options.store, base))], "/health", theirs),
    }
    if options.without_lora:
        commands["ours on vLLM, LoRA off"] = (
            [*serving, "--engine", "vllm", "--engine-arg", "enable_lora=false"],
            "/readyz",
            ours,
        )
    return commands


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement."""
    commands = commands_of(options)
    main, *others = commands
    with contextlib.ExitStack() as stack:
        up = {name: stack.enter_context(server(command, path)) for name, (command, path, _) in commands.items()}
        with up[main].turn() as url:
            work = asyncio.run(measured(url, jobs(options.media, options.requests, options.tokens)))
        rounds: dict[str, list[Round]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            order = list(commands) if number % 2 else list(reversed(commands))
            for name in order:
                with up[name].turn() as url:
                    seen = asyncio.run(load(url, commands[name][2], work, options.concurrency))
                if number:  # the first round warms up
                    rounds[name].append(seen)
                    print(f"{number} {name}: {seen.rate:.1f} tokens/s", file=sys.stderr)
    rates = {name: statistics.median(one.rate for one in seen) for name, seen in rounds.items()}
    pairs = {other: list(zip(rounds[main], rounds[other], strict=True)) for other in others}
    return {
        "concurrency": options.concurrency,
        "requests a round": len(work),
        "prompt tokens": sum(job.prompt_tokens for job in work),
        "completion tokens": sum(job.tokens for job in work),
        "tokens a second": {name: round(rate, 1) for name, rate in rates.items()},
        "first token, ms": {name: milliseconds(seen, "first") for name, seen in rounds.items()},
        "between tokens, ms": {name: milliseconds(seen, "gaps") for name, seen in rounds.items()},
        "ratios of tokens a second": {
            f"{main} over {other}": round(statistics.median(a.rate / b.rate for a, b in pairs[other]), 3)
            for other in others
        },
        "ratios of the time between tokens": {
            f"{main} over {other}": round(statistics.median(a.gap / b.gap for a, b in pairs[other]), 3)
            for other in others
        },
    }


def milliseconds(rounds: Sequence[Round], what: str) -> dict[str, float]:
    """Median and 99th percentile over all rounds."""
    values = sorted(1000 * value for one in rounds for value in getattr(one, what))
    return {"p50": round(statistics.median(values), 1), "p99": round(values[int(0.99 * (len(values) - 1))], 1)}


def main() -> None:
    """Start the servers, load them, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--checkpoint", metavar="ID", required=True)
    parser.add_argument("--media", nargs="*", default=["image=docs/media/apple.png"], metavar="MODALITY=FILE")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--requests", type=int, default=128, help="a round")
    parser.add_argument("--tokens", type=int, default=48, help="at most, for an answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", metavar="ID", help="another checkpoint, instead of other servers")
    parser.add_argument("--without-lora", action="store_true", help="also our server on a vLLM without LoRA")
    json.dump(run(parser.parse_args()), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
