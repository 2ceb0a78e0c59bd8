"""Metrics, in the form that Prometheus reads.

A module declares what it measures at its top: `_pulls = metrics.counter("pulls", "Image pulls.", ("result",))`. Label
values come from short closed lists, never from what a client sends.

Nothing is counted, and the library is not even loaded, until `collect` is called: a daemon whose settings name no
endpoint saves its 4 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

NAMESPACE = "beeyard"

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""From a store read to an image pull."""

_declared: list[Metric] = []
_collecting = False


@dataclass(slots=True, kw_only=True)
class Metric:
    """A declared metric: it forgets what it is told until metrics are collected."""

    kind: Literal["Counter", "Gauge", "Histogram"]
    name: str
    documentation: str
    label_names: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)
    _real: Any = None

    def labels(self, *values: str) -> Self:
        """Return the metric for these values of its labels."""
        if self._real is None:
            return self
        return replace(self, label_names=(), _real=self._real.labels(*values))

    def inc(self, amount: float = 1) -> None:
        """Add to a counter or gauge."""
        if self._real is not None:
            self._real.inc(amount)

    def set(self, value: float) -> None:
        """Set a gauge."""
        if self._real is not None:
            self._real.set(value)

    def follow(self, read: Callable[[], float]) -> None:
        """Let a gauge show what `read` returns whenever it is asked for; called from the endpoint's threads."""
        if self._real is not None:
            self._real.set_function(read)

    def observe(self, value: float) -> None:
        """Add a value to a histogram."""
        if self._real is not None:
            self._real.observe(value)

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Add the seconds that the block takes to a histogram."""
        with contextlib.nullcontext() if self._real is None else self._real.time():
            yield

    def begin(self) -> None:
        """Count from now on."""
        import prometheus_client

        kind = getattr(prometheus_client, self.kind)
        self._real = kind(
            self.name, self.documentation, self.label_names, namespace=NAMESPACE, **self.options
        )


def collect() -> None:
    """Count from now on, what is declared later included."""
    global _collecting
    if not _collecting:
        _collecting = True
        for metric in _declared:
            metric.begin()


def _declare(metric: Metric) -> Metric:
    _declared.append(metric)
    if _collecting:
        metric.begin()
    return metric


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Metric:
    """Declare a number that only grows; shown as `beeyard_<name>_total`."""
    return _declare(Metric(kind="Counter", name=name, documentation=documentation, label_names=labels))


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Metric:
    """Declare a number that goes up and down; shown as `beeyard_<name>`."""
    return _declare(Metric(kind="Gauge", name=name, documentation=documentation, label_names=labels))


def histogram(
    name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS_BUCKETS
) -> Metric:
    """Declare a distribution, by default of seconds; shown as `beeyard_<name>_bucket`, `_sum` and `_count`."""
    options = {"buckets": buckets}
    return _declare(
        Metric(kind="Histogram", name=name, documentation=documentation, label_names=labels, options=options)
    )


_tasks = gauge("asyncio_tasks", "Tasks of the daemon that have not ended.")


@contextlib.asynccontextmanager
async def serve(listen: str) -> AsyncIterator[int]:
    """Answer HTTP requests for the metrics at `listen` from a thread of its own; yield the port.

    The tasks that are counted are those of the loop that this runs in.

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
    collect()
    loop = asyncio.get_running_loop()
    _tasks.follow(lambda: len(asyncio.all_tasks(loop)))
    import prometheus_client

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
