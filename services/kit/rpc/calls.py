"""What surrounds every handler: the request id, errors into statuses, and a count of what is in flight.

grpc.aio's own `stop` does not wait for handlers whose call was aborted or cancelled, so a daemon that relied on it
would close its database under them. Every call is counted here until its handler has really ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

from services.kit import errors, log, metrics
from services.kit.rpc import decoding
from services.kit.rpc import errors as rpc_errors
from services.kit.rpc.types import REQUEST_ID, Context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Behaviour: TypeAlias = "Callable[[Any, Context], Any]"
"""A servicer's method: a coroutine function or an async generator function."""

_log = log.get(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_seconds = metrics.histogram("rpc_seconds", "Duration of calls that were served.", ("method", "code"))
_open = metrics.gauge("rpc_in_flight", "Calls whose handler has not ended.", ("kind",))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One RPC as it is served."""

    path: str
    """"/package.Service/Method"; of a handler for whole families of methods, the family's name."""
    follows: bool = False
    """Whether a call has no end of its own (logs -f, events, watches): it is ended when the server drains."""
    streams: bool = False
    """Whether there may be more than one message, in either direction."""

    @property
    def kind(self) -> str:
        """What metrics count it as."""
        return "stream" if self.streams else "call"


class Calls:
    """All calls that a server has in flight."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.Task[Any], Method] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @property
    def in_flight(self) -> int:
        """How many handlers have not ended."""
        return len(self._calls)

    def wrap(
        self, handler: grpc.RpcMethodHandler[Any, Any], method: Method
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler that does what `handler` does, inside of what this module gives."""
        kinds: dict[tuple[bool, bool], tuple[Any, Callable[..., grpc.RpcMethodHandler[Any, Any]]]] = {
            (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        behaviour, make_handler = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
        assert behaviour is not None, f"{method.path} has no behaviour"
        streams = bool(handler.request_streaming or handler.response_streaming)
        method = dataclasses.replace(method, streams=streams)
        surround = self._streaming if handler.response_streaming else self._unary
        return make_handler(
            surround(behaviour, method),
            request_deserializer=decoding.tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def end_followers(self) -> None:
        """Begin to drain: end the calls that have no end of their own, now and from now on."""
        self._draining = True
        for task, method in self._calls.items():
            if method.follows:
                self._end(task)

    async def idle(self) -> None:
        """Wait until no handler is in flight."""
        await self._idle.wait()

    def _unary(self, behaviour: Behaviour, method: Method) -> Behaviour:
        async def work(request: Any, context: Context) -> Any:
            return await behaviour(decoding.decoded(request), context)

        async def serve(request: Any, context: Context) -> Any:
            return await self._serve(method, context, work(request, context))

        return serve

    def _streaming(self, behaviour: Behaviour, method: Method) -> Behaviour:
        async def write_all(request: Any, context: Context) -> None:
            responses = behaviour(decoding.decoded(request), context)
            if inspect.isawaitable(responses):  # it writes through the context itself
                await responses
                return
            async with contextlib.aclosing(responses):
                async for response in responses:
                    try:
                        await context.write(response)
                    except (
                        grpc.aio.InternalError
                    ):  # the caller goes at this moment; the cancellation is on its way
                        raise asyncio.CancelledError from None

        async def serve(request: Any, context: Context) -> None:
            await self._serve(method, context, write_all(request, context))

        return serve

    async def _serve(self, method: Method, context: Context, work: Awaitable[Any]) -> Any:
        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"
        self._calls[task] = method
        self._idle.clear()
        _open.labels(method.kind).inc()
        request_id = _request_id(context)
        log.bind(request_id=request_id)  # the task serves this call only
        started, code = time.perf_counter(), "OK"
        if self._draining and method.follows:
            self._end(task)
        try:
            return await work
        except asyncio.CancelledError:
            code = "CANCELLED"
            if task not in self._ended:
                raise
            task.uncancel()
            code = "UNAVAILABLE"
            await rpc_errors.abort(
                context, errors.Unavailable("the daemon is stopping", reason="SHUTTING_DOWN")
            )
        except grpc.aio.AbortError:
            code = "ABORTED_BY_HANDLER"
            raise
        except Exception as exc:  # noqa: BLE001 (the border: everything becomes a status)
            error = rpc_errors.to_error(exc)
            if error is None:
                _log.exception("rpc_failed", method=method.path)
                error = errors.Internal(
                    f"internal error; the daemon's log has the details under request id {request_id}",
                    metadata={"request_id": request_id},
                )
            elif isinstance(error, errors.Internal):
                _log.error("rpc_failed", method=method.path, reason=error.reason, error=error.message)
            else:
                _log.info("rpc_refused", method=method.path, reason=error.reason, error=error.message)
            code = rpc_errors.code_of(error).name
            await rpc_errors.abort(context, error)
        finally:
            self._ended.discard(task)
            del self._calls[task]
            if not self._calls:
                self._idle.set()
            _open.labels(method.kind).inc(-1)
            _seconds.labels(method.path, code).observe(time.perf_counter() - started)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._ended.add(task)
        task.cancel()


def _request_id(context: Context) -> str:
    """Return the id that the caller gave, if it is one, or a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(8)
