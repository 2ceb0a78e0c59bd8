"""The log format, joining, tails and rotation, on files without a conmon."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.containerd.logs import files, held, journal, journald, output
from services.containerd.logs import rotate as rotate_module
from services.containerd.logs.format import Entry, Joiner, Stream, parse, parse_time
from services.containerd.logs.journal_export import ExportParser
from services.containerd.logs.options import LogPolicy, details, resolve
from services.containerd.logs.reader import Reader, Selection
from services.containerd.logs.rotate import LOOK_S, WRITTEN_BYTES_S_MAX, Rotator, Watched, look_after_s
from services.containerd.model.spec import LogConfig
from services.kit import errors, tasks
from services.kit.system import SystemClock

STAMP = b"2026-11-24T02:26:48.505978071+00:00"
STAMP_NS = 1795487208505978071


def test_parse() -> None:
    entry = parse(STAMP + b" stdout F some  text ")
    assert entry == Entry(time_ns=STAMP_NS, stream=Stream.STDOUT, partial=False, data=b"some  text ")
    partial = parse(STAMP + b" stderr P ")
    assert partial == Entry(time_ns=STAMP_NS, stream=Stream.STDERR, partial=True, data=b"")
    for damaged in (
        b"",
        b"x",
        STAMP,
        STAMP + b" stdout",
        STAMP + b" stdout F",
        STAMP + b" stdin F x",
        b"20 stdout F x",
    ):
        assert parse(damaged) is None


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"2026-11-24T02:26:48.505978071+00:00", STAMP_NS),
        (b"2026-11-24T03:26:48.505978071+01:00", STAMP_NS),
        (b"2026-11-24T02:26:48.5Z", 1795487208500000000),
        (b"1969-12-31T23:59:59.000000001+00:00", -999_999_999),
        (b"2026-11-24T02:26:48", None),
        (b"yesterday", None),
    ],
)
def test_time(stamp: bytes, expected: int | None) -> None:
    assert parse_time(stamp) == expected


@given(st.binary(max_size=80))
def test_parse_is_total(raw: bytes) -> None:
    parse(raw)


def test_parts_are_joined_per_stream() -> None:
    def entry(stream: Stream, data: bytes, *, partial: bool) -> Entry:
        return Entry(time_ns=1, stream=stream, partial=partial, data=data)

    joiner = Joiner()
    assert joiner.add(entry(Stream.STDOUT, b"a", partial=True)) is None
    assert joiner.add(entry(Stream.STDERR, b"x", partial=True)) is None
    whole = joiner.add(entry(Stream.STDOUT, b"b", partial=False))
    assert whole is not None
    assert whole.data == b"ab\n"
    assert [line.data for line in joiner.flush()] == [b"x"]
    assert joiner.flush() == []


def line(number: int, tag: str = "F") -> bytes:
    return b"2026-01-01T00:00:%02d.000000000+00:00 stdout %s line %d\n" % (number % 60, tag.encode(), number)


async def read(path: Path, **fields: int) -> list[bytes]:
    reader = Reader(path, Selection(**fields))  # type: ignore[arg-type]
    batches = reader.read(follow=False, ended=lambda: True, clock=SystemClock())
    return [entry.data for batch in [batch async for batch in batches] for entry in batch]


async def test_reads_across_rotated_files(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    assert await read(path) == []
    for name, numbers in (
        ("ctr.log.10", (1, 2)),
        ("ctr.log.2", (3, 4)),
        ("ctr.log.1", (5,)),
        ("ctr.log", (6, 7)),
    ):
        (tmp_path / name).write_bytes(b"".join(line(number) for number in numbers))
    whole = [b"line %d\n" % number for number in range(1, 8)]
    assert await read(path) == whole
    for tail in range(9):
        assert await read(path, tail=tail) == whole[len(whole) - min(tail, 7) :]


@given(
    kinds=st.lists(st.sampled_from(["F", "P"]), max_size=40),
    width=st.sampled_from([0, 5, 40_000]),
    tail=st.integers(0, 45),
)
def test_tail_is_what_the_whole_ends_in(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], width: int, tail: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "ctr.log"
    stamp = b"2026-01-01T00:00:00.000000000+00:00 stdout "
    path.write_bytes(b"".join(stamp + kind.encode() + b" " + b"x" * width + b"\n" for kind in kinds))
    whole = asyncio.run(read(path))
    got = asyncio.run(read(path, tail=tail))
    assert got == (whole[-tail:] if tail else [])


async def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    path.write_bytes(line(1) + line(2)[:20])
    assert await read(path) == [b"line 1\n"]
    assert await read(path, tail=1) == [b"line 1\n"]
    path.write_bytes(line(1) + line(2)[:-3])
    assert await read(path) == [b"line 1\n", b"line"]
    assert await read(path, tail=1) == [b"line"]
    path.rename(files.rotated(path, 1))  # the crash was in the middle of a rotation
    path.write_bytes(line(3))
    assert await read(path) == [b"line 1\n", b"line\n", b"line 3\n"]


async def test_a_torn_last_line_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    files.mend(path)
    path.touch()
    files.mend(path)
    assert path.read_bytes() == b""
    path.write_bytes(line(1) + line(2)[:-3])
    for _ in range(2):
        files.mend(path)
    with path.open("ab") as file:
        file.write(line(3))
    assert await read(path) == [b"line 1\n", b"line\n", b"line 3\n"]


def rotate(path: Path, files_max: int) -> None:
    files.rotate(path)
    files.trim(path, 1 << 20, files_max)


def test_rotation_keeps_so_many(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    for number in range(6):
        path.write_bytes(line(number))
        rotate(path, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ctr.log.1", "ctr.log.2"]
    assert files.rotated(path, 1).read_bytes() == line(5)
    path.write_bytes(line(9))
    assert [file.name for file in files.existing(path)] == ["ctr.log.2", "ctr.log.1", "ctr.log"]
    assert files.total_bytes(path) == 3 * len(line(1))
    rotate(path, 1)
    assert files.existing(path) == []


@pytest.mark.parametrize("files_max", [1, 3])
async def test_who_lags_loses_nothing_that_rotation_removes(tmp_path: Path, files_max: int) -> None:
    path = tmp_path / "ctr.log"
    path.write_bytes(line(0))
    reader = Reader(path, Selection())
    over = [False]
    batches = reader.read(follow=True, ended=lambda: over[0], clock=SystemClock())
    seen = [entry.data for entry in await anext(batches)]
    for number in range(1, 9):
        with path.open("ab") as file:
            file.write(line(number))
        rotate(path, files_max)
    over[0] = True
    seen += [entry.data for batch in [batch async for batch in batches] for entry in batch]
    assert seen == [b"line %d\n" % number for number in range(9)]
    assert reader.lost_bytes() == 0


@pytest.mark.parametrize(("bound", "value"), [("HELD_BYTES_MAX", 3 * len(line(1))), ("HELD_FILES_MAX", 3)])
async def test_who_lags_by_more_than_is_held_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(held, bound, value)
    path = tmp_path / "ctr.log"
    path.write_bytes(line(0) + line(0)[:-4])
    reader = Reader(path, Selection())
    over = [False]
    batches = reader.read(follow=True, ended=lambda: over[0], clock=SystemClock())
    assert [entry.data for entry in await anext(batches)] == [b"line 0\n"]
    for number in range(1, 9):
        rotate(path, 2)
        path.write_bytes(line(number))
    over[0] = True
    told = [([entry.data for entry in batch], reader.lost_bytes()) async for batch in batches]
    assert told[0][1] == 3 * len(line(1))  # of 8 that were removed, 3 are held; the first was read
    assert sum(lost for _, lost in told[1:]) == 0
    assert [data for batch, _ in told for data in batch] == [b"line %d\n" % number for number in range(4, 9)]


class Conmon:
    """Reopens a log when it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = 0
        self.deaf = False
        self.seen = asyncio.Event()

    async def reopen_log(self) -> None:
        self.told += 1
        if not self.deaf:
            self.path.touch()

    def log_reopened(self) -> None:
        self.seen.set()


async def test_a_log_is_rotated_when_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate_module, "REOPEN_S", 0.02)
    path = tmp_path / "ctr.log"
    path.touch()
    conmon = Conmon(path)
    watched = Watched(
        container_id="c",
        conmon=None,
        path=path,
        policy=LogPolicy(size_bytes_max=300, files_max=2),
        control=conmon,  # type: ignore[arg-type]
    )
    async with asyncio.timeout(10), tasks.Supervisor() as supervisor:
        rotator = Rotator(lambda: [watched], supervisor, SystemClock())
        running = supervisor.spawn(rotator.run(), "rotate", critical=False)
        for round_ in range(1, 4):
            path.write_bytes(line(round_) * 9)
            await conmon.seen.wait()
            conmon.seen.clear()
            assert conmon.told == round_
        assert path.read_bytes() == b""
        conmon.deaf = True  # as if the daemon had died before it was told
        path.write_bytes(line(4) * 9)
        while conmon.told < 5:
            await asyncio.sleep(0.01)
        conmon.deaf = False
        await conmon.seen.wait()
        while len(files.existing(path)) > 2:
            await asyncio.sleep(0.01)
        running.cancel()
    assert files.rotated(path, 1).read_bytes() == line(4) * 4  # cut to what the limit allows


def test_a_look_comes_before_the_fastest_writer_is_past_the_limit() -> None:
    assert look_after_s(-1) == look_after_s(1000) == LOOK_S
    assert look_after_s(WRITTEN_BYTES_S_MAX) == 1


async def test_a_flood_between_two_looks_is_cut_to_what_rotation_in_time_had_kept(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    files.rotated(path, 1).write_bytes(line(0))
    path.write_bytes(b"".join(line(number, "P" if number % 3 else "F") for number in range(1000)))
    reader = Reader(path, Selection(), joined=False)
    over = [False]
    batches = reader.read(follow=True, ended=lambda: over[0], clock=SystemClock())
    seen = list(await anext(batches)) + list(await anext(batches))
    assert len(seen) == 1001  # all of what there was: and now its file is cut
    size = 1000
    files.close(path, size, 3)
    path.write_bytes(b"".join(line(number) for number in range(1000, 1003)))
    assert [file.name for file in files.existing(path)] == ["ctr.log.1", "ctr.log"]
    assert files.rotated(path, 1).stat().st_size <= 2 * size
    kept = await read(path)
    assert kept[-3:] == [b"line 1000\n", b"line 1001\n", b"line 1002\n"]
    assert 10 < len(kept) < 20
    assert kept[0].count(b"line") == 3  # it begins with a whole line
    over[0] = True
    assert [entry.data for batch in [batch async for batch in batches] for entry in batch] == kept[-3:]


def test_what_is_within_its_limits_stays(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    path.write_bytes(line(1))
    files.rotated(path, 1).write_bytes(line(0) * 20)
    files.close(path, 1000, 3)
    assert [file.name for file in files.existing(path)] == ["ctr.log.1", "ctr.log"]
    assert files.rotated(path, 1).read_bytes() == line(0) * 20
    files.close(tmp_path / "gone/ctr.log", 1000, 3)


async def test_an_ended_log_is_read_over_all_its_files(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    files.rotated(path, 2).write_bytes(line(0))
    files.rotated(path, 1).write_bytes(line(1))
    assert await read(path) == [b"line 0\n", b"line 1\n"]


async def test_a_log_that_goes_does_not_pass_for_a_whole_one(tmp_path: Path) -> None:
    """Who was cut off from a container that `--rm` removes must be told that output may be missing."""
    path = tmp_path / "ctr.log"
    assert not await output.has_all_since(path, STAMP_NS, 5)
    path.write_bytes(STAMP + b" stdout F a\n")
    assert await output.has_all_since(path, STAMP_NS + 1, 5)
    files.rotated(path, 4).write_bytes(STAMP + b" stdout F b\n")  # others before it may have been dropped
    assert await output.has_all_since(path, STAMP_NS + 1, 5)
    assert not await output.has_all_since(path, STAMP_NS, 5)


def test_details_are_what_the_options_choose() -> None:
    options = {
        "labels": "a,gone",
        "labels-regex": "^x",
        "env": "K",
        "tag": "t/{{.Name}}/{{ .ID }}/{{.Other}}",
    }
    found = details(
        options,
        labels={"a": "1", "b": "2", "xy": "3"},
        env={"K": "v", "L": "w"},
        tag_fields={"Name": "box", "ID": "1234"},
    )
    assert found == {"a": "1", "xy": "3", "K": "v", "tag": "t/box/1234/{{.Other}}"}
    assert details({}, labels={"a": "1"}, env={"K": "v"}, tag_fields={}) == {}


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(errors.Invalid, match="labels-regex"):
        resolve(LogConfig(options={"labels-regex": "("}), LogPolicy())


def test_journald_needs_its_socket(tmp_path: Path) -> None:
    journald.check(LogPolicy(), tmp_path / "none")
    with pytest.raises(errors.FailedPrecondition, match="journald is not enabled"):
        journald.check(LogPolicy(driver="journald"), tmp_path / "none")


def test_reading_the_journal_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "DIRECTORIES", (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.FailedPrecondition, match=r"box: .* journalctl, .* is not installed"):
        journal.check("box")
    (tmp_path / "journalctl").touch(mode=0o755)
    with pytest.raises(errors.FailedPrecondition, match=f"there is no journal in {tmp_path}"):
        journal.check("box")
    (tmp_path / "0123").mkdir()
    (tmp_path / "0123" / "system.journal").touch()
    journal.check("box")


@given(messages=st.lists(st.binary(max_size=20), max_size=5), step=st.integers(1, 7))
def test_an_export_is_read_in_any_pieces(messages: list[bytes], step: int) -> None:
    binary = [b"MESSAGE\n" + len(each).to_bytes(8, "little") + each + b"\n" for each in messages]
    data = b"".join(b"__CURSOR=c\n" + each + b"PRIORITY=3\n\n" for each in binary)
    parser = ExportParser()
    found = [
        entry for start in range(0, len(data), step) for entry in parser.feed(data[start : start + step])
    ]
    assert [entry["MESSAGE"] for entry in found] == messages
    assert all(entry["PRIORITY"] == b"3" for entry in found)


def test_an_export_without_an_end_is_refused() -> None:
    with pytest.raises(errors.Internal, match="no export"):
        ExportParser().feed(b"MESSAGE\n" + b"\xff" * 8)


def test_a_tail_reads_what_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    path.write_bytes(line(1) * 50_000)
    read_bytes = 0

    class Counted(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read_bytes
            data = super().read(-1 if size is None else size) or b""
            read_bytes += len(data)
            return data

    with Counted(path) as file:
        offset, found = files.tail_offset(file, 10)
    assert (offset, found) == (len(line(1)) * 49_990, 10)
    assert read_bytes <= 64 << 10
