"""The log: one event a line, in three forms, with what the context has bound."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from services.kit import errors, log


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def written(level: str, fmt: str) -> io.StringIO:
    stream = io.StringIO()
    log.setup(level, fmt, stream=stream)
    return stream


def test_text_form() -> None:
    out = written("info", "text")
    log.get("services.imaged.store").info(
        "layer_unpacked", digest="sha256:ab", duration_ms=12, ratio=0.33333333
    )
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    imaged\.store: layer_unpacked"
        r" digest=sha256:ab duration_ms=12 ratio=0\.333333\n",
        out.getvalue(),
    )


def test_journal_form_carries_the_priority() -> None:
    out = written("debug", "journal")
    logger = log.get("services.netd")
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")
    assert out.getvalue().splitlines() == ["<7>netd: a", "<6>netd: b", "<4>netd: c", "<3>netd: d"]


def test_json_form() -> None:
    out = written("info", "json")
    log.get("services.netd").warning("port_taken", port=80, who=None, ok=False, raw=b"\xff", event="mine")
    entry = json.loads(out.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "netd",
        "event": "port_taken",
        "port": 80,
        "who": None,
        "ok": False,
        "raw": "\\xff",
        "field_event": "mine",
    }


def test_levels_below_are_not_written() -> None:
    out = written("warning", "text")
    logger = log.get("x")
    logger.info("quiet")
    assert out.getvalue() == ""
    assert logger.is_enabled("error")
    assert not logger.is_enabled("info")


@pytest.mark.parametrize("hostile", ["a\nb", "a\x1b[31mb", 'a"b', "", "a b", "a=b", "a\u2028b", "\ud800"])
@pytest.mark.parametrize("fmt", ["text", "journal", "json"])
def test_no_value_breaks_out_of_its_line(hostile: str, fmt: str) -> None:
    out = written("info", fmt)
    log.get("x").info("seen", value=hostile)
    log.get("x").info("sentence " + hostile)
    text = out.getvalue()
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text
    first = text.splitlines()[0]
    value = json.loads(first)["value"] if fmt == "json" else first.partition("value=")[2]
    assert value == hostile or json.loads(value) == hostile


def test_long_values_are_cut() -> None:
    out = written("info", "text")
    log.get("x").info("seen", value="y" * 10_000)
    assert len(out.getvalue()) < log.VALUE_CHARS_MAX + 200
    assert "(10000 characters)" in out.getvalue()


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_tracebacks_are_written_with_their_event(fmt: str) -> None:
    out = written("info", fmt)
    logger = log.get("x")
    try:
        raise ValueError("inside")
    except ValueError as exc:
        logger.exception("handling")
        caught = exc
    logger.failure("of_a_task", caught)
    assert out.getvalue().count("ValueError: inside") == 2
    if fmt == "text":
        assert all(line.startswith(("20", "    ")) for line in out.getvalue().splitlines())


def test_context_nests_and_ends() -> None:
    out = written("info", "text")
    logger = log.get("x")
    with log.context(request_id="r1"):
        with log.context(container="c1"):
            logger.info("inner", container="mine")
        logger.info("outer")
        assert log.bound("request_id") == "r1"
    logger.info("after")
    assert log.bound("request_id") is None
    lines = [line.split(": ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == ["inner request_id=r1 container=mine", "outer request_id=r1", "after"]


async def test_tasks_inherit_the_context_and_keep_theirs() -> None:
    async def child() -> tuple[object, object]:
        log.bind(step=1)
        return log.bound("request_id"), log.bound("step")

    with log.context(request_id="r1"):
        task = asyncio.create_task(child())
    assert await task == ("r1", 1)
    assert log.bound("step") is None


def test_library_logs_come_out_in_the_same_form() -> None:
    out = written("info", "text")
    logging.getLogger("some.library").warning("%d things\nwent wrong", 3)
    assert out.getvalue().endswith('WARNING some.library: "3 things\\nwent wrong"\n')


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(errors.Invalid, match="unknown log level 'loud'"):
        log.setup("loud", "text")
    with pytest.raises(errors.Invalid, match="unknown log format 'xml'"):
        log.setup("info", "xml")


def test_auto_is_text_when_stderr_is_not_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    out = written("info", "auto")
    log.get("x").info("seen")
    assert re.match(r"\d{4}-", out.getvalue())


def test_auto_is_the_journal_form_when_stderr_is_the_journal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import os
    import sys

    status = os.fstat(sys.stderr.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    log.setup("info", "auto")
    log.get("x").info("seen")
    assert capfd.readouterr().err == "<6>x: seen\n"
