"""Renders the headers of a tar archive; the caller writes the data behind them.

Plain ustar where everything fits, a pax header in front where it does not: what Docker writes and every tool reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit.tar import header, pax
from services.kit.tar.entry import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kit.tar.entry import Entry, Segment

END = header.ZERO_BLOCK * 2
_NAME_BYTES_MAX = 100
_OCTAL_7_MAX = 0o7777777
_OCTAL_11_MAX = 0o77777777777
_NS_PER_S = 1_000_000_000
_TYPE_FLAGS = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHAR_DEVICE: b"3",
    Kind.BLOCK_DEVICE: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}


def render(entry: Entry, *, whole_seconds: bool = True) -> bytes:
    """Return all that precedes the entry's data; directories should end in a slash.

    Of a sparse file the data are those of its segments, one after the other.

    Args:
        entry: What to say.
        whole_seconds: Cut its time to seconds.
    """
    seconds, fraction_ns = divmod(entry.mtime_ns, _NS_PER_S)
    records: pax.Records = []
    name, link_name = entry.name, entry.link_name
    sparse_map = b""
    if entry.sparse is not None:
        assert entry.real_size_bytes is not None, "a sparse file has a length"
        sparse_map = _sparse_map(entry.sparse)
        records += [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", name),
            ("GNU.sparse.realsize", b"%d" % entry.real_size_bytes),
        ]
        name = b"GNUSparseFile.0/" + name.rpartition(b"/")[2]
    if not _fits(name):
        records.append(("path", name))
        name = _stand_in(name)
    if not _fits(link_name):
        records.append(("linkpath", link_name))
        link_name = _stand_in(link_name)
    numbers = {"uid": entry.uid, "gid": entry.gid}
    for key, value in numbers.items():
        if value > _OCTAL_7_MAX:
            records.append((key, b"%d" % value))
            numbers[key] = 0
    size_bytes = entry.size_bytes + len(sparse_map)
    if size_bytes > _OCTAL_11_MAX:
        records.append(("size", b"%d" % size_bytes))
        size_bytes = 0
    if fraction_ns and not whole_seconds:
        records.append(("mtime", pax.render_time(entry.mtime_ns)))
    elif not 0 <= seconds <= _OCTAL_11_MAX:
        records.append(("mtime", b"%d" % seconds))
    if not 0 <= seconds <= _OCTAL_11_MAX:
        seconds = 0
    records += [(pax.XATTR_PREFIX + key, value) for key, value in sorted(entry.xattrs.items())]
    main = header.render(
        name=name,
        mode=entry.mode & 0o7777,
        uid=numbers["uid"],
        gid=numbers["gid"],
        size_bytes=size_bytes,
        mtime=seconds,
        type_flag=_TYPE_FLAGS[entry.kind],
        link_name=link_name,
        device=entry.device,
    )
    return _pax_header(records, seconds) + main + sparse_map if records else main


def padding(size_bytes: int) -> bytes:
    """Return the zeros that follow `size_bytes` of data."""
    return bytes(-size_bytes % header.BLOCK_BYTES)


def _sparse_map(segments: Sequence[Segment]) -> bytes:
    """Return the map of GNU's format 1.0, which precedes the data and is padded to whole blocks."""
    numbers = [len(segments), *(number for segment in segments for number in segment)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + padding(len(text))


def _pax_header(records: pax.Records, mtime: int) -> bytes:
    data = pax.render(records)
    front = header.render(
        name=b"PaxHeaders/entry",
        mode=0o644,
        uid=0,
        gid=0,
        size_bytes=len(data),
        mtime=mtime,
        type_flag=b"x",
    )
    return front + data + padding(len(data))


def _fits(name: bytes) -> bool:
    # A slash at the cut would make old readers take a file for a directory; pax for everything that is not plain.
    return len(name) <= _NAME_BYTES_MAX and name.isascii()


def _stand_in(name: bytes) -> bytes:
    """Return what readers that do not know pax see in place of a long name."""
    shortened = bytes(byte for byte in name[:_NAME_BYTES_MAX] if byte < 128)
    return shortened.rstrip(b"/") or b"entry"
