"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cli.commands.logs import parse_tail
from cli.specs import times

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "1970-01-01T00:00:00.000000000Z"),
        ("1700000000", "2023-11-14T22:13:20.000000000Z"),
        ("1700000000.5", "2023-11-14T22:13:20.500000000Z"),
        ("1700000000.000000001", "2023-11-14T22:13:20.000000001Z"),
        ("10m", "2026-01-02T11:50:00.000000000Z"),
        ("1h30m", "2026-01-02T10:30:00.000000000Z"),
        ("-1m", "2026-01-02T12:01:00.000000000Z"),
        ("2026-01-01", "2026-01-01T00:00:00.000000000Z"),
        ("2026-01-01T10:00", "2026-01-01T10:00:00.000000000Z"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00.000000000Z"),
        ("2026-01-01T10:00:00.25+02:00", "2026-01-01T08:00:00.250000000Z"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    assert times.rfc3339_nano(times.parse(text, "--since", NOW)) == expected


def test_log_lines_carry_nine_decimals() -> None:
    assert times.rfc3339_nano(Timestamp(seconds=1, nanos=5)) == "1970-01-01T00:00:01.000000005Z"


@pytest.mark.parametrize(
    ("text", "expected"), [("all", None), ("", None), ("-1", None), ("0", 0), ("17", 17)]
)
def test_tails(text: str, expected: int | None) -> None:
    assert parse_tail(text) == expected
