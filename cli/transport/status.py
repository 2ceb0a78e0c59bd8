"""From the end of a call to our errors: the reverse of what the daemons do in `services.kit.rpc.errors`.

The table repeats the client's half of that module, which cannot be imported here because it loads grpcio; a test holds
the two together.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from cli.transport import frames
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

OK = 0
CANCELLED = 1
UNKNOWN = 2
UNIMPLEMENTED = 12
DETAILS = "grpc-status-details-bin"
DOMAIN = "beeyard.dev"

CLASSES: Mapping[int, tuple[type[errors.BeeyardError], str]] = {
    1: (errors.Unavailable, "CANCELLED"),
    2: (errors.Internal, "UNKNOWN"),
    3: (errors.Invalid, ""),
    4: (errors.Unavailable, "DEADLINE_EXCEEDED"),
    5: (errors.NotFound, ""),
    6: (errors.AlreadyExists, ""),
    7: (errors.PermissionDenied, ""),
    8: (errors.Exhausted, ""),
    9: (errors.FailedPrecondition, ""),
    10: (errors.Conflict, ""),
    11: (errors.Invalid, "OUT_OF_RANGE"),
    12: (errors.Unsupported, ""),
    13: (errors.Internal, ""),
    14: (errors.Unavailable, ""),
    15: (errors.Internal, "DATA_LOSS"),
    16: (errors.PermissionDenied, "UNAUTHENTICATED"),
}
"""By the number of the gRPC status: our class, and the reason if the class's own does not fit."""

_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""What stands for an HTTP status when the answer is no gRPC at all (the gRPC specification's table)."""
_RESETS = {
    frames.REFUSED_STREAM: 14,
    frames.CANCEL: 1,
    frames.ENHANCE_YOUR_CALM: 8,
    frames.INADEQUATE_SECURITY: 7,
}


def error_of_trailers(headers: Mapping[str, str], peer: str) -> errors.BeeyardError | None:
    """Return the error that trailers of a peer tell of, None if the call went well."""
    text = headers.get("grpc-status", "")
    if text.isdecimal():
        code = int(text)
    else:
        code = _HTTP.get(int(headers[":status"]), UNKNOWN) if ":status" in headers else UNKNOWN
    if code == OK:
        return None
    message = _decoded(headers.get("grpc-message", "")) or f"the call failed with gRPC status {code}"
    reason, metadata = _details(headers.get(DETAILS, ""))
    if code == UNIMPLEMENTED and not reason:  # not our own refusal: the server has never heard of the method
        message = f"{peer} does not know this call: is it older than this program?"
    return _error(code, message, reason, metadata)


def error_of_reset(code: int) -> errors.BeeyardError:
    """Return the error of a stream that the other side gave up with an HTTP/2 code."""
    return _error(_RESETS.get(code, 13), f"the call was cut off (HTTP/2 error {code})", "", {})


def error_of_http(status: str) -> errors.BeeyardError:
    """Return the error of an answer that is no gRPC: something else listens there."""
    code = _HTTP.get(int(status), UNKNOWN) if status.isdecimal() else UNKNOWN
    return _error(code, f"the answer is no gRPC (HTTP status {status or 'missing'})", "", {})


def _error(code: int, message: str, reason: str, metadata: Mapping[str, str]) -> errors.BeeyardError:
    kind, own_reason = CLASSES.get(code, (errors.Internal, ""))
    return kind(message, reason=reason or own_reason, metadata=metadata)


def _decoded(text: str) -> str:
    """Undo the percent-encoding of a message."""
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


def _details(encoded: str) -> tuple[str, Mapping[str, str]]:
    """Return the reason and the metadata of our ErrorInfo, empty if there is none."""
    if not encoded:
        return "", {}
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        status = status_pb2.Status.FromString(binascii.a2b_base64(padded))
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info.reason, dict(info.metadata)
    except (DecodeError, ValueError):  # not a status as we know it: the code alone must do
        pass
    return "", {}
