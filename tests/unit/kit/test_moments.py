"""Moments on the wire."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.kit.rpc.moments import nanoseconds


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (1, 5, 10**9 + 5),
        (2**63 - 1, 2**31 - 1, (2**63 - 1) * 10**9 + 2**31 - 1),
        (-(2**63), -1, -(2**63) * 10**9 - 1),
    ],
)
def test_any_number_is_a_moment(seconds: int, nanos: int, expected: int) -> None:
    assert nanoseconds(Timestamp(seconds=seconds, nanos=nanos)) == expected
