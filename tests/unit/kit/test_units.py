"""Sizes and durations: Docker's notation, read and written."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors, units


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("32", 32),
        ("32b", 32),
        ("32B", 32),
        ("32k", 32 << 10),
        ("32K", 32 << 10),
        ("32kb", 32 << 10),
        ("32KiB", 32 << 10),
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("1.5GiB", 3 << 29),
        ("64 MB", 64 << 20),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
        (" 10m ", 10 << 20),
        ("0.5", 0),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_parse_bytes(text: str, size_bytes: int) -> None:
    assert units.parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "m",
        "-1",
        "-1m",
        "1x",
        "1mm",
        "1 m b",
        "1.2.3",
        ".5g",
        "1,5g",
        "0x10",
        "1e3",
        "٣",
        "9223372036854775808",
        "1" * 5000,
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid, match="invalid size") as caught:
        units.parse_bytes(text)
    assert caught.value.reason == "INVALID_SIZE"
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    ("size_bytes", "decimal", "binary"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1000B"),
        (1024, "1.02kB", "1KiB"),
        (4_217_000, "4.22MB", "4.022MiB"),
        (72_800_000, "72.8MB", "69.43MiB"),
        (999_999, "1MB", "976.6KiB"),
        (1 << 30, "1.07GB", "1GiB"),
        (-1500, "-1.5kB", "-1.465KiB"),
        ((1 << 63) - 1, "9.22EB", "8EiB"),
    ],
)
def test_render_bytes(size_bytes: int, decimal: str, binary: str) -> None:
    assert units.render_bytes(size_bytes) == decimal
    assert units.render_bytes_binary(size_bytes) == binary


@given(st.integers(0, 1 << 80))
def test_rendered_sizes_have_no_exponent(size_bytes: int) -> None:
    assert "e" not in units.render_bytes(size_bytes)
    assert "e" not in units.render_bytes_binary(size_bytes)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("10s", 10.0),
        ("1h30m10s", 5410.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("300ms", 0.3),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1\u03bcs", 1e-6),
        ("100ns", 1e-7),
        ("-2m", -120.0),
        ("+2m", 120.0),
        ("1m1m", 120.0),
        ("2562047h", 2562047 * 3600.0),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+",
        "10",
        "s",
        ".s",
        "1",
        "1d",
        "1h 30m",
        "1H",
        "--1s",
        "1s-",
        "1e3s",
        "2562048h",
        "9" * 100 + "s",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid, match="invalid duration"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (10, "10s"),
        (90, "1m30s"),
        (5400, "1h30m0s"),
        (3600, "1h0m0s"),
        (1.5, "1.5s"),
        (0.3, "300ms"),
        (0.0005, "500µs"),
        (1e-9, "1ns"),
        (-2, "-2s"),
        (61.25, "1m1.25s"),
    ],
)
def test_render_duration(seconds: float, text: str) -> None:
    assert units.render_duration(seconds) == text


@given(st.integers(-(10**15), 10**15))
def test_a_rendered_duration_reads_back(ns: int) -> None:
    assert round(units.parse_duration(units.render_duration(ns / 1e9)) * 1e9) == pytest.approx(ns, abs=1)


@given(st.text(max_size=20))
def test_parsers_are_total(text: str) -> None:
    for parse in (units.parse_bytes, units.parse_duration):
        with contextlib.suppress(errors.Invalid):
            parse(text)


HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (180, "3 minutes"),
        (59 * 60, "59 minutes"),
        (HOUR, "About an hour"),
        (89 * 60, "About an hour"),
        (90 * 60, "2 hours"),
        (47 * HOUR, "47 hours"),
        (48 * HOUR, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_human_duration(seconds: float, text: str) -> None:
    assert units.human_duration(seconds) == text
