"""The one mapping between errors and gRPC statuses.

A status carries a `google.rpc.ErrorInfo` with the stable reason and the metadata, so that a client in any language can
tell errors apart without reading messages, and ours raises the class again that the daemon raised.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.kit import errors

if TYPE_CHECKING:
    from services.kit.rpc.types import Context

DOMAIN = "beeyard.dev"
STATUS_DETAILS = "grpc-status-details-bin"

# Statuses travel in HTTP/2 trailers, of which clients accept 8 KiB by default: more would turn the error into another.
MESSAGE_ENCODED_BYTES_MAX = 2500
METADATA_BYTES_MAX = 1500

_CODES: dict[type[errors.BeeyardError], grpc.StatusCode] = {
    errors.Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}

# The codes that gRPC itself produces besides ours, with the class that says how to react and a reason that tells them
# apart from the class's own.
_FOREIGN: dict[grpc.StatusCode, tuple[type[errors.BeeyardError], str]] = {
    grpc.StatusCode.CANCELLED: (errors.Unavailable, "CANCELLED"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (errors.Unavailable, "DEADLINE_EXCEEDED"),
    grpc.StatusCode.UNAUTHENTICATED: (errors.PermissionDenied, "UNAUTHENTICATED"),
    grpc.StatusCode.OUT_OF_RANGE: (errors.Invalid, "OUT_OF_RANGE"),
    grpc.StatusCode.UNKNOWN: (errors.Internal, "UNKNOWN"),
    grpc.StatusCode.DATA_LOSS: (errors.Internal, "DATA_LOSS"),
}

_CLASSES = {code: (kind, "") for kind, code in _CODES.items()} | _FOREIGN


def to_error(exc: BaseException) -> errors.BeeyardError | None:
    """Return the operating error that `exc` is or stands for; None if it is a fault in the program."""
    match exc:
        case errors.BeeyardError():
            return exc
        case grpc.aio.AioRpcError():
            return from_rpc_error(exc)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return errors.Exhausted(f"no space is left on the disk{_of_file(exc)}", reason="DISK_FULL")
        case _:
            return None


def to_status(exc: BaseException) -> status_pb2.Status:
    """Return the status that tells a client of `exc`; faults in the program are told as INTERNAL without details."""
    error = to_error(exc) or errors.Internal("internal error; the daemon's log has the details")
    status = status_pb2.Status(code=code_of(error).value[0], message=_shortened(error.message))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    room = METADATA_BYTES_MAX
    for key, value in error.metadata.items():
        room -= len(key.encode()) + len(value.encode())
        if room < 0:
            break
        info.metadata[key] = value
    status.details.add().Pack(info)
    return status


def code_of(error: errors.BeeyardError) -> grpc.StatusCode:
    """Return the gRPC code of an error's class."""
    return next(_CODES[kind] for kind in (*type(error).__mro__, errors.Internal) if kind in _CODES)


async def abort(context: Context, exc: BaseException) -> NoReturn:
    """End the call that `context` belongs to with the status of `exc`. Never returns."""
    status = to_status(exc)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, ((STATUS_DETAILS, status.SerializeToString()),))


def from_rpc_error(exc: grpc.aio.AioRpcError) -> errors.BeeyardError:
    """Return the error that the other side raised, or the one of our classes that fits a failure of the transport."""
    kind, reason = _CLASSES.get(exc.code(), (errors.Internal, ""))
    metadata: dict[str, str] = {}
    for key, value in exc.trailing_metadata() or ():
        if key == STATUS_DETAILS and isinstance(value, bytes) and (info := _error_info(value)):
            reason, metadata = info.reason, dict(info.metadata)
    return kind(exc.details() or f"the call failed with {exc.code().name}", reason=reason, metadata=metadata)


def _error_info(serialized: bytes) -> error_details_pb2.ErrorInfo | None:
    try:
        status = status_pb2.Status.FromString(serialized)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    except DecodeError:  # not a status as we know it: the code alone must do
        pass
    return None


def _shortened(message: str) -> str:
    """Cut a message so that its percent-encoded form stays within the limit."""
    size = 0
    for index, char in enumerate(message):
        size += 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode("utf-8", "replace"))
        if size > MESSAGE_ENCODED_BYTES_MAX:
            return message[:index] + "…"
    return message


def _of_file(exc: OSError) -> str:
    return f" ({exc.filename})" if exc.filename else ""
