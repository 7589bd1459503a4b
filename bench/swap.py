"""How long does a swap hold anybody up? Swaps back and forth under load, against the same load without swaps.

    python -m serving --store store &
    python bench/swap.py 0001-image-mera-… 0002-pointcloud-mera-… --swaps 20 --pid $!

Loads a running server with streams about files, text alone and clients that leave, and swaps two checkpoints. Every
answer is compared with what its checkpoint said before the load began; where one of the two has not learned a
modality, its refusal is the answer. A swap lasts from the order until the weights have settled; the longest gap inside
a stream and the longest wait for a first token in it are set against those of as long a time just before it. Prints
JSON: requests, failures, mixed answers, those two in milliseconds, memory after each swap and its slope in the second
half. Answers are the same to the token only where arithmetic does not depend on who else is in the batch: count mixed
answers with --engine-arg dtype=float32.
"""

import argparse
import asyncio
import base64
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

TEXTS = ("What kind of thing is this?", "Describe this.", "What do you see in this picture?")


@dataclass
class Seen:
    """What the clients saw."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    mixed: int = 0
    left: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)  # when, seconds between two tokens of one stream
    first: list[tuple[float, float]] = field(default_factory=list)  # when, seconds until a first token


@dataclass(frozen=True)
class Swap:
    """One swap, by the monotonic clock, in seconds."""

    began: float
    deploy: float  # until the answer to the order
    seconds: float  # until the weights had settled


def prompts(media: list[str]) -> list[list[dict[str, str]]]:
    """Every file with every question, and the questions alone."""
    named = [one.partition("=") for one in media]
    files = [{name: base64.b64encode(Path(path).read_bytes()).decode()} for name, _, path in named]
    return [[one, {"text": text}] for one in files for text in TEXTS] + [[{"text": text}] for text in TEXTS]


async def stream(http: httpx.AsyncClient, prompt: list[dict[str, str]], seen: Seen, tokens: int) -> tuple[str, str]:
    """One streamed answer, or that the checkpoint has not learned what it is asked about; and which checkpoint."""
    said, last, first = "", time.perf_counter(), True
    body = {"prompt": prompt, "max_tokens": tokens, "stream": True}
    async with http.stream("POST", "/generate", json=body) as answer:
        if answer.status_code != 200:
            told = json.loads(await answer.aread())["error"]
            if told["type"] == "unknown_modality":
                return told["message"], answer.headers["x-checkpoint"]
            raise RuntimeError(f"{answer.status_code}: {told}")
        async for line in answer.aiter_lines():
            if not line:
                continue
            event, now = json.loads(line.removeprefix("data: ")), time.perf_counter()
            if "error" in event:
                raise RuntimeError(str(event["error"]))
            if "done" in event:
                return said, event["done"]["checkpoint"]
            (seen.first if first else seen.gaps).append((now, now - last))
            said, last, first = said + event["token"], now, False
    raise RuntimeError("The stream ended without its last event.")


async def client(
    http: httpx.AsyncClient, asks: list[Any], truth: dict[str, list[str]], seen: Seen, seed: int, tokens: int
) -> None:
    """Asks for ever; leaves in the middle now and then."""
    random_ = random.Random(seed)
    while True:
        number = random_.randrange(len(asks))
        seen.requests += 1
        try:
            if random_.random() < 0.05:
                body = {"prompt": asks[number], "max_tokens": tokens, "stream": True}
                async with http.stream("POST", "/generate", json=body) as answer:
                    async for _ in answer.aiter_lines():
                        break
                seen.left += 1
                continue
            said, checkpoint = await stream(http, asks[number], seen, tokens)
            seen.mixed += said != truth[checkpoint][number]
        except (RuntimeError, httpx.HTTPError) as error:
            seen.failed.append(repr(error)[:200])


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement."""
    headers = {"Authorization": f"Bearer {(options.store / 'admin-token').read_text().strip()}"}
    asks, seen = prompts(options.media), Seen()
    limits = httpx.Limits(max_connections=options.clients + 4)
    async with httpx.AsyncClient(base_url=options.url, timeout=120, limits=limits, trust_env=False) as http:

        async def deploy(checkpoint: str) -> float:
            began = time.perf_counter()
            while True:
                answer = await http.post(
                    "/admin/deploy", json={"checkpoint": checkpoint, "override": "bench/swap.py"}, headers=headers
                )
                if answer.status_code != 409:
                    answer.raise_for_status()
                    return time.perf_counter() - began
                await asyncio.sleep(0.1)

        truth: dict[str, list[str]] = {}
        for checkpoint in options.checkpoints:
            await deploy(checkpoint)
            await settled(http)
            truth[checkpoint] = [(await stream(http, ask, Seen(), options.tokens))[0] for ask in asks]
        clients = [
            asyncio.create_task(client(http, asks, truth, seen, seed, options.tokens))
            for seed in range(options.clients)
        ]
        await asyncio.sleep(options.settle * 3)
        memory = [usage(options.pid)]
        swaps: list[Swap] = []
        while len(swaps) < options.swaps or seen.requests < options.requests:
            began = time.perf_counter()
            took = await deploy(options.checkpoints[len(swaps) % 2])
            await settled(http)
            swaps.append(Swap(began, took, time.perf_counter() - began))
            memory.append(usage(options.pid))  # it halts what it looks at, so not just before a swap
            await asyncio.sleep(max(options.settle, 1.2 * swaps[-1].seconds))
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return {
        "swaps": len(swaps),
        "requests": seen.requests,
        "failed": len(seen.failed),
        "failures": seen.failed[:3],
        "mixed": seen.mixed,
        "left": seen.left,
        "deploy_seconds": summary([swap.deploy for swap in swaps]),
        "settled_seconds": summary([swap.seconds for swap in swaps]),
        "longest_gap_ms": against(seen.gaps, swaps),
        "longest_first_token_ms": against(seen.first, swaps),
        "memory_mib": [round(one / 2**20) for one in memory],
        "memory_slope_mib_a_swap": slope([one / 2**20 for one in memory[len(memory) // 2 :]]),
    }


async def settled(http: httpx.AsyncClient) -> None:
    """Return once the server says that no swap is under way."""
    while "polymera_swapping 0.0" not in (await http.get("/metrics")).text:
        await asyncio.sleep(0.1)


def against(waits: list[tuple[float, float]], swaps: list[Swap]) -> dict[str, dict[str, float]]:
    """The longest wait that ended in each swap, in as long a time before it, and by how much the first is longer."""

    def longest(start: float, end: float) -> float:
        return 1000 * max((wait for when, wait in waits if start <= when < end), default=0.0)

    inside = [longest(swap.began, swap.began + swap.seconds) for swap in swaps]
    before = [longest(swap.began - swap.seconds, swap.began) for swap in swaps]
    extra = [one - other for one, other in zip(inside, before, strict=True)]
    return {"swap": summary(inside), "before": summary(before), "extra": summary(extra)}


def summary(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
        "max": round(ordered[-1], 2),
    }


def slope(values: list[float]) -> float:
    """By how much the values grow from one to the next, by least squares."""
    if len(values) < 2:
        return 0.0
    return round(statistics.linear_regression(range(len(values)), values).slope, 3)


def usage(pid: int | None) -> int:
    """Bytes that the server and its children hold alone."""
    if pid is None:
        return 0
    server = psutil.Process(pid)
    return sum(one.memory_full_info().uss for one in (server, *server.children(recursive=True)))


def main() -> None:
    """Measure a running server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", nargs=2, metavar="ID", help="two checkpoints of the server's store")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running server")
    parser.add_argument("--pid", type=int, help="its process, to watch the memory")
    parser.add_argument("--store", type=Path, default=Path("store"), help="for the admin token")
    parser.add_argument(
        "--media",
        nargs="*",
        default=["image=docs/media/apple.png"],
        metavar="MODALITY=FILE",
        help="what is asked about",
    )
    parser.add_argument("--swaps", type=int, default=20, help="at least so many")
    parser.add_argument("--requests", type=int, default=0, help="and go on until so many were asked")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--settle", type=float, default=3.0, help="seconds between two swaps")
    json.dump(asyncio.run(run(parser.parse_args())), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
