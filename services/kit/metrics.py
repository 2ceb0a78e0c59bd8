"""Metrics, in the form that Prometheus reads.

A module declares what it measures at its top: `_pulls = metrics.counter("pulls", "Image pulls.", ("result",))`. Label
values come from short closed lists, never from what a client sends.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NAMESPACE = "beeyard"

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""From a store read to an image pull."""


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """Declare a number that only grows; shown as `beeyard_<name>_total`."""
    return Counter(name, documentation, labels, namespace=NAMESPACE)


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """Declare a number that goes up and down; shown as `beeyard_<name>`."""
    return Gauge(name, documentation, labels, namespace=NAMESPACE)


def histogram(
    name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS_BUCKETS
) -> Histogram:
    """Declare a distribution, by default of seconds; shown as `beeyard_<name>_bucket`, `_sum` and `_count`."""
    return Histogram(name, documentation, labels, namespace=NAMESPACE, buckets=buckets)


@contextlib.asynccontextmanager
async def serve(listen: str) -> AsyncIterator[int]:
    """Answer HTTP requests for the metrics at `listen` from a thread of its own; yield the port.

    Args:
        listen: "host:port", an IPv6 address in brackets; port 0 takes a free one. Empty is no endpoint, and port 0.

    Raises:
        errors.Invalid: `listen` is not of that form.
        errors.FailedPrecondition: The address is in use or not one of this machine.
    """
    if not listen:
        yield 0
        return
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise errors.Invalid(
            f"metrics_listen must be host:port, not {listen!r}", metadata={"key": "metrics_listen"}
        )
    try:
        server, thread = prometheus_client.start_http_server(int(port), host.strip("[]") or "0.0.0.0")  # noqa: S104
    except OSError as exc:
        raise errors.FailedPrecondition(
            f"cannot serve metrics at {listen}: {exc.strerror}", reason="ADDRESS_IN_USE"
        ) from exc
    try:
        yield int(server.server_port)
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
