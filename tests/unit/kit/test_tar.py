"""The tar codec: against Python's own, by round trips, and on malformed input."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit import errors
from services.kit.tar import header, pax, sparse, writer
from services.kit.tar.entry import Entry, Kind
from services.kit.tar.reader import TarReader
from services.kit.tar.source import Source

NAMES = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"x").replace(b"\n", b"y"))


def source_of(data: bytes, chunk: int = 1000) -> Source:
    parts = iter([data[start : start + chunk] for start in range(0, len(data), chunk)])
    return Source(lambda: next(parts, b""))


def read(data: bytes, chunk: int = 1000) -> list[tuple[Entry, bytes]]:
    reader = TarReader(source_of(data, chunk))
    return [(entry, b"".join(bytes(view) for view in reader.data())) for entry in reader]


def python_tar(members: list[tuple[tarfile.TarInfo, bytes]], fmt: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 1 << 20])
def test_what_python_writes_is_read(fmt: int, chunk: int) -> None:
    long_name = "d/" + "n" * (90 if fmt == tarfile.USTAR_FORMAT else 250)
    data = python_tar(
        [
            (info("d", type=tarfile.DIRTYPE, mode=0o1777, mtime=12), b""),
            (info(long_name, size=1000, uid=7, gid=8, mode=0o4755), b"x" * 1000),
            (info("link", type=tarfile.SYMTYPE, linkname="../" + "t" * 90), b""),
            (info("hard", type=tarfile.LNKTYPE, linkname=long_name[:100]), b""),
            (info("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
            (info("pipe", type=tarfile.FIFOTYPE), b""),
            (info("ü", size=3), b"abc"),
        ],
        fmt,
    )
    entries = {entry.name.rstrip(b"/"): (entry, content) for entry, content in read(data, chunk)}
    directory, _ = entries[b"d"]
    assert (directory.kind, directory.mode, directory.mtime_ns) == (Kind.DIRECTORY, 0o1777, 12_000_000_000)
    file, content = entries[long_name.encode()]
    assert (file.kind, file.mode, file.uid, file.gid, content) == (Kind.FILE, 0o4755, 7, 8, b"x" * 1000)
    assert entries[b"link"][0].link_name == b"../" + b"t" * 90
    assert entries[b"hard"][0].kind is Kind.HARDLINK
    assert entries[b"null"][0].device == (1, 3)
    assert entries[b"pipe"][0].kind is Kind.FIFO
    assert entries["ü".encode()][1] == b"abc"


def test_pax_records_win_over_the_header() -> None:
    records = {
        "path": "long/" + "p" * 200,
        "uid": "3000000000",
        "mtime": "1234567890.25",
        "SCHILY.xattr.user.note": "value",
    }
    member = info("short", size=2)
    member.pax_headers = records
    ((entry, content),) = read(python_tar([(member, b"hi")], tarfile.PAX_FORMAT))
    assert entry.name == records["path"].encode()
    assert entry.uid == 3_000_000_000
    assert entry.mtime_ns == 1_234_567_890_250_000_000
    assert entry.xattrs == {"user.note": b"value"}
    assert content == b"hi"


entries_to_write = st.builds(
    Entry,
    name=NAMES,
    kind=st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.FIFO]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, (1 << 32) - 1),
    gid=st.integers(0, (1 << 32) - 1),
    mtime_ns=st.integers(-(1 << 40), 1 << 40).map(lambda seconds: seconds * 1_000_000_000),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "security.capability"]), st.binary(max_size=50)),
)


@given(st.lists(st.tuples(entries_to_write, st.binary(max_size=1500)), max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back(members: list[tuple[Entry, bytes]]) -> None:
    out = bytearray()
    for entry, data in members:
        body = data if entry.kind is Kind.FILE else b""
        entry.size_bytes = len(body)
        entry.link_name = b"target" if entry.kind is Kind.SYMLINK else b""
        out += writer.render(entry) + body + writer.padding(len(body))
    out += writer.END
    found = read(bytes(out))
    assert [entry for entry, _ in found] == [entry for entry, _ in members]
    assert [data for _, data in found] == [
        data if entry.kind is Kind.FILE else b"" for entry, data in members
    ]


@given(st.dictionaries(st.sampled_from(["path", "a", "SCHILY.xattr.x"]), st.binary(max_size=120), max_size=3))
def test_pax_records_read_back(records: dict[str, bytes]) -> None:
    listed = sorted(records.items())
    assert pax.parse(pax.render(listed)) == listed


@given(st.binary(max_size=2000))
def test_reading_is_total(data: bytes) -> None:
    with contextlib.suppress(errors.Invalid):
        read(data)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_reading_a_damaged_archive_is_total(data: st.DataObject) -> None:
    member = info("file", size=600)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9000"}
    archive = bytearray(python_tar([(member, b"1\n0\n88\n" + bytes(505) + b"x" * 88)], tarfile.PAX_FORMAT))
    for _ in range(data.draw(st.integers(1, 5))):
        archive[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(errors.Invalid):
        read(bytes(archive))


@pytest.mark.parametrize("cut", [1, 511, 513, 700, 1023])
def test_an_archive_that_ends_early_is_refused(cut: int) -> None:
    data = python_tar([(info("file", size=600), b"x" * 600)], tarfile.USTAR_FORMAT)
    with pytest.raises(errors.Invalid):
        read(data[:cut])


def test_an_archive_without_an_end_marker_is_accepted() -> None:
    data = python_tar([(info("file", size=512), b"x" * 512)], tarfile.USTAR_FORMAT)
    assert len(read(data[:1024])) == 1


def test_numbers_come_in_octal_and_in_base_256() -> None:
    assert header.number(b"0000644\0", "mode") == 0o644
    assert header.number(b"   644 \0", "mode") == 0o644
    assert header.number(b"\0" * 8, "mode") == 0
    assert header.number(b"\x80" + bytes(6) + b"\x05", "size") == 5
    assert header.number(b"\xff" * 12, "mtime") == -1
    with pytest.raises(errors.Invalid):
        header.number(b"00008\0\0\0", "mode")


@pytest.mark.parametrize(
    ("fields", "records"),
    [
        ({"type": tarfile.CHRTYPE, "devmajor": 1 << 20}, {}),
        ({"type": tarfile.BLKTYPE, "devminor": 1 << 20}, {}),
        ({}, {"SCHILY.xattr.user.a\0b": "x"}),
    ],
)
def test_what_linux_cannot_have_is_refused(fields: dict[str, object], records: dict[str, str]) -> None:
    data = python_tar([(info("x", pax_headers=records, **fields), b"")], tarfile.PAX_FORMAT)
    with pytest.raises(errors.Invalid):
        read(data)


def old_sparse() -> bytes:
    """An entry in GNU's old format with more segments than its header holds."""
    segments = [(4096 * number, 512) for number in range(6)]
    block = bytearray(
        header.render(name=b"sparse", mode=0o644, uid=0, gid=0, size_bytes=6 * 512, mtime=0, type_flag=b"S")
    )
    block[257:265] = b"ustar  \0"
    for index, (offset, length) in enumerate(segments[:4]):
        block[386 + 24 * index : 410 + 24 * index] = b"%011o\0%011o\0" % (offset, length)
    block[482] = 1
    block[483:495] = b"%011o\0" % 30_000
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    extension = bytearray(512)
    for index, (offset, length) in enumerate(segments[4:]):
        extension[24 * index : 24 * index + 24] = b"%011o\0%011o\0" % (offset, length)
    return bytes(block + extension) + b"".join(bytes([65 + n]) * 512 for n in range(6)) + bytes(1024)


def test_old_sparse_files_are_read() -> None:
    ((entry, data),) = read(old_sparse())
    assert entry.sparse == tuple((4096 * number, 512) for number in range(6))
    assert entry.real_size_bytes == 30_000
    assert data[512:1024] == b"B" * 512


def test_pax_sparse_files_are_read() -> None:
    member = info("GNUSparseFile.0/x", size=512 + 6)
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "x",
        "GNU.sparse.realsize": "5000",
    }
    body = b"2\n0\n2\n4000\n4\n".ljust(512, b"\0") + b"abcdef"
    ((entry, data),) = read(python_tar([(member, body)], tarfile.PAX_FORMAT))
    assert (entry.name, entry.sparse, entry.real_size_bytes) == (b"x", ((0, 2), (4000, 4)), 5000)
    assert data == b"abcdef"


@pytest.mark.parametrize(
    ("segments", "real_size", "data_bytes"),
    [([(10, 5), (0, 5)], 20, 10), ([(0, 30)], 20, 30), ([(0, 5)], 20, 6), ([(0, -1)], 5, -1), ([], -1, 0)],
)
def test_a_sparse_map_must_make_sense(
    segments: list[tuple[int, int]], real_size: int, data_bytes: int
) -> None:
    with pytest.raises(errors.Invalid):
        sparse.check(segments, real_size, data_bytes)


def test_extension_headers_are_bounded() -> None:
    big = header.render(name=b"x", mode=0, uid=0, gid=0, size_bytes=2 << 20, mtime=0, type_flag=b"x")
    with pytest.raises(errors.Invalid, match="extension header"):
        read(big + bytes(2 << 20))
    one = header.render(name=b"x", mode=0, uid=0, gid=0, size_bytes=0, mtime=0, type_flag=b"g")
    with pytest.raises(errors.Invalid, match="in a row"):
        read(one * 20)


def test_data_that_is_not_taken_is_skipped() -> None:
    data = python_tar([(info("a", size=5000), b"a" * 5000), (info("b", size=1), b"b")], tarfile.USTAR_FORMAT)

    def names() -> Iterator[bytes]:
        for entry in TarReader(source_of(data)):
            yield entry.name

    assert list(names()) == [b"a", b"b"]
