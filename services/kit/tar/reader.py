"""Reads a tar archive from a stream, entry by entry, in one pass and bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit.tar import header, pax, sparse
from services.kit.tar.entry import Entry, Kind, invalid, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.kit.tar.header import RawHeader
    from services.kit.tar.source import Source

EXTENSION_BYTES_MAX = 1 << 20
"""Of one pax header or GNU long name."""
EXTENSIONS_IN_A_ROW_MAX = 16
DEVICE_MAJORS, DEVICE_MINORS = 1 << 12, 1 << 20
"""What Linux has."""
_NS_PER_S = 1_000_000_000
_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,  # contiguous: a request to the writer of a disk, no other content
    b"S": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHAR_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_DATALESS = {Kind.SYMLINK, Kind.DIRECTORY, Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE, Kind.FIFO}


class TarReader:
    """Iterates over the entries of an archive.

    Between two entries the caller takes the current one's data from `data`; what it leaves is skipped. After the last
    entry the stream stands behind the end marker; `Source.drain` reads the padding that may follow.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data_left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __next__(self) -> Entry:
        entry = self.next()
        if entry is None:
            raise StopIteration
        return entry

    def data(self, count_max: int = 1 << 20) -> Iterator[memoryview]:
        """Yield what is left of the current entry's data; each view is valid until the next one."""
        while self._data_left:
            view = self._source.view(min(self._data_left, count_max))
            if not view:
                raise invalid("it ends in the middle of an entry")
            self._data_left -= len(view)
            yield view

    def read_all(self, bytes_max: int) -> bytes:
        """Return all data of the current entry.

        Raises:
            errors.Invalid: There is more than `bytes_max`.
        """
        if self._data_left > bytes_max:
            raise invalid(f"an entry that must be small has {self._data_left} bytes")
        return b"".join(bytes(view) for view in self.data())

    def next(self) -> Entry | None:
        """Return the next entry, or None after the last one.

        Raises:
            errors.Invalid: The archive is malformed or ends early.
        """
        if self._data_left:
            self._source.skip(self._data_left)
            self._data_left = 0
        long_name = long_link = b""
        records: pax.Records = []
        for _ in range(EXTENSIONS_IN_A_ROW_MAX):
            block = self._next_block()
            if block is None:
                return None
            raw = header.parse(block)
            match raw.type_flag:
                case b"x" | b"X":
                    records = pax.parse(self._extension(raw))
                case b"L":
                    long_name = self._extension(raw).rstrip(b"\0")
                case b"K":
                    long_link = self._extension(raw).rstrip(b"\0")
                case (
                    b"g" | b"V"
                ):  # defaults for the rest of the archive, and a label: as Docker, we use neither
                    self._extension(raw)
                case _:
                    if long_name or long_link:
                        raw = raw._replace(name=long_name or raw.name, link_name=long_link or raw.link_name)
                    return self._entry(raw, block, records)
        raise invalid(f"more than {EXTENSIONS_IN_A_ROW_MAX} extension headers in a row")

    def _next_block(self) -> bytes | None:
        """Return the next header, past the padding of the data before it; None at the end."""
        padding, self._padding = self._padding, 0
        block = self._source.take(padding + header.BLOCK_BYTES)[padding:]
        if not block:
            return None  # no end marker: nothing is missing, so we accept it as everybody does
        if block != header.ZERO_BLOCK:
            return block
        second = self._source.take(header.BLOCK_BYTES)
        if second and second != header.ZERO_BLOCK:
            raise invalid("there is data after half an end marker")
        return None

    def _extension(self, raw: RawHeader) -> bytes:
        if raw.size_bytes > EXTENSION_BYTES_MAX:
            raise invalid(f"an extension header has {raw.size_bytes} bytes")
        data = self._source.take(raw.size_bytes)
        if len(data) != raw.size_bytes:
            raise invalid("it ends in the middle of an entry")
        self._padding = -raw.size_bytes % header.BLOCK_BYTES
        return data

    def _entry(self, raw: RawHeader, block: bytes, records: pax.Records) -> Entry:
        kind = _KINDS.get(raw.type_flag)
        if kind is None:
            raise invalid(f"{show(raw.name)} is of type {raw.type_flag!r}, which is not known")
        entry = Entry(
            name=raw.name,
            kind=kind,
            mode=raw.mode,
            uid=raw.uid,
            gid=raw.gid,
            size_bytes=raw.size_bytes,
            mtime_ns=raw.mtime * _NS_PER_S,
            link_name=raw.link_name,
            device=raw.device,
        )
        sparse_version = _apply_records(entry, records) if records else ""
        if kind is Kind.FILE and raw.type_flag == b"\0" and entry.name.endswith(b"/"):
            entry.kind = Kind.DIRECTORY  # tars of before 1988 had no type for it
        if entry.kind in _DATALESS:
            entry.size_bytes = 0
        if not 0 <= entry.uid < 1 << 32 or not 0 <= entry.gid < 1 << 32:
            raise invalid(f"{entry.shown_name} has an owner out of range")
        if not (0 <= entry.device[0] < DEVICE_MAJORS and 0 <= entry.device[1] < DEVICE_MINORS):
            raise invalid(f"{entry.shown_name} has a device number out of range")
        self._data_left = entry.size_bytes
        self._padding = -entry.size_bytes % header.BLOCK_BYTES
        if entry.kind is Kind.FILE and (raw.type_flag == b"S" or sparse_version):
            self._read_sparse(entry, raw, block, records, sparse_version)
        return entry

    def _read_sparse(
        self, entry: Entry, raw: RawHeader, block: bytes, records: pax.Records, version: str
    ) -> None:
        segments: list[tuple[int, int]] | None
        if raw.type_flag == b"S":
            segments, entry.real_size_bytes = sparse.read_old(block, self._source.take)
        elif version == "1":
            segments, taken = sparse.read_prefix(self._take_data)
            entry.size_bytes -= taken
        else:
            segments = sparse.read_records(records)
        if segments is None or entry.real_size_bytes is None:
            raise invalid(f"{entry.shown_name} is sparse, but its map is missing")
        entry.sparse = sparse.check(segments, entry.real_size_bytes, entry.size_bytes)

    def _take_data(self, count: int) -> bytes:
        if count > self._data_left:
            raise invalid("a sparse map exceeds its entry")
        self._data_left -= count
        return self._source.take(count)


def _apply_records(entry: Entry, records: pax.Records) -> str:
    """Overlay an entry with its pax records; return the sparse format's major version, "" if it is not sparse."""
    sparse_version, sparse_name = "", b""
    for key, value in records:
        match key:
            case "path":
                entry.name = value
            case "linkpath":
                entry.link_name = value
            case "size":
                entry.size_bytes = pax.integer(value, key)
            case "uid":
                entry.uid = pax.integer(value, key)
            case "gid":
                entry.gid = pax.integer(value, key)
            case "mtime":
                entry.mtime_ns = pax.time_ns(value, key)
            case "GNU.sparse.name":
                sparse_name = value
            case "GNU.sparse.realsize" | "GNU.sparse.size":
                entry.real_size_bytes = pax.integer(value, key)
                sparse_version = sparse_version or "0"
            case "GNU.sparse.major":
                sparse_version = value.decode("ascii", "replace")
            case _:
                attribute = pax.xattr(key, value)
                if attribute is not None:
                    if "\0" in attribute[0]:
                        raise invalid(f"{entry.shown_name} has an extended attribute with a NUL in its name")
                    entry.xattrs[attribute[0]] = attribute[1]
    entry.name = sparse_name or entry.name  # "path" then holds a made-up one
    if not 0 <= entry.size_bytes <= header.SIZE_MAX:
        raise invalid(f"{entry.shown_name} has a size out of range")
    if sparse_version not in {"", "0", "1"}:
        raise invalid(f"{entry.shown_name} is sparse in the unknown format {sparse_version[:20]!r}")
    return sparse_version
