"""Types and limits that both sides of a call share."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc.aio

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""The context of a handler. The generated stubs name its parameters in a way that no override can repeat."""

MESSAGE_BYTES_MAX = 16 << 20
"""The largest message, both ways. What may be larger is a stream of chunks."""

REQUEST_ID = "beeyard-request-id"
"""The metadata key of the id that ties together what a request caused, in the logs of every daemon it reached."""
