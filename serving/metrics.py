"""What Prometheus is told, on GET /metrics: how long answers take, how many wait, what was swapped.

Every application has a registry of its own. It knows names and numbers, no modality and no engine.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from modalities.features import Features
from serving.deployment import Chunk

SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)  # seconds between two tokens
LONG = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)  # seconds until a first token, or of a swap


class Metrics:
    """The instruments of one application."""

    def __init__(self, waiting: Callable[[], int], swapping: Callable[[], bool], features: Features) -> None:
        self._during = swapping
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "polymera_requests", "Requests that were answered.", ("route", "status", "checkpoint"), registry=registry
        )
        self._first = Histogram(
            "polymera_first_token_seconds",
            "From a request's arrival to the first piece of its answer; swap: whether one was under way then.",
            ("checkpoint", "swap"),
            buckets=LONG,
            registry=registry,
        )
        self._next = Histogram(
            "polymera_inter_token_seconds",
            "Between two pieces of an answer; swap: whether one was under way, so that its pause shows.",
            ("checkpoint", "swap"),
            buckets=SHORT,
            registry=registry,
        )
        self._swaps = Histogram(
            "polymera_swap_seconds",
            "From the order to deploy to the new checkpoint's first request.",
            ("outcome",),
            buckets=LONG,
            registry=registry,
        )
        Gauge("polymera_requests_in_flight", "Requests that are answered or wait.", registry=registry).set_function(
            lambda: float(waiting())
        )
        Gauge(
            "polymera_swapping", "1 while a checkpoint is loaded or its weights settle.", registry=registry
        ).set_function(lambda: float(swapping()))
        registry.register(_Cache(features))

    def count(self, route: str, status: int, checkpoint: str | None) -> None:
        """A request has been answered, or given up (status 499) by its client."""
        self._requests.labels(route, str(status), checkpoint or "none").inc()

    async def timed(
        self, chunks: AsyncGenerator[Chunk, None], checkpoint: str, began: float
    ) -> AsyncGenerator[Chunk, None]:
        """The same chunks, timed; `began` is when the request came, by `time.perf_counter`."""
        last, first = began, True
        async with aclosing(chunks) as stream:
            async for chunk in stream:
                now = time.perf_counter()
                if chunk.text:
                    swap = "yes" if self._during() else "no"
                    (self._first if first else self._next).labels(checkpoint, swap).observe(now - last)
                    last, first = now, False
                yield chunk

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Around a deploy or a rollback."""
        began, outcome = time.perf_counter(), "failed"
        try:
            yield
            outcome = "done"
        finally:
            self._swaps.labels(outcome).observe(time.perf_counter() - began)

    def route(self) -> APIRouter:
        """GET /metrics."""
        router = APIRouter()

        @router.get("/metrics")
        async def metrics() -> Response:
            """For Prometheus to scrape."""
            return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

        return router


class _Cache(Collector):
    """The encoder cache's own counters."""

    def __init__(self, features: Features) -> None:
        self._features = features

    def collect(self) -> Iterator[Metric]:
        """As Prometheus wants them."""
        family = CounterMetricFamily("polymera_encoder_cache", "Files that were asked for.", labels=("outcome",))
        family.add_metric(["hit"], self._features.hits)
        family.add_metric(["miss"], self._features.misses)
        yield family
