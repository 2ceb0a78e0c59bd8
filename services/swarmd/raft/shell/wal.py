"""The log on disk: numbered files of sealed records, of which only the newest is written.

Rules:
* A file is whole and durable before the next is begun. So only the newest may end in a torn write.
* Every file begins with a record that stands by itself, so that older files can go as soon as a snapshot
  covers them.
* A file is never extended by a later process: opening the log begins a new one.
* After a failed write or sync nothing more is written: what the kernel still has of the file is not known.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.kit import errors, log
from services.swarmd.raft.shell import frames
from services.swarmd.raft.shell.sealing import SALT_BYTES, Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.swarmd.raft.shell.disk import Disk
    from services.swarmd.raft.shell.sealing import KeyRing, Sealer

_log = log.get(__name__)

SUFFIX: Final = ".wal"
FILE_BYTES_MAX: Final = 16 << 20
"""A file that has grown this large is followed by a new one."""


class Corrupt(errors.Internal):
    """What is on disk is not what was acknowledged to be: to go on would break the promises made to other members."""

    default_reason = "RAFT_STATE_CORRUPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file of the log, as it was found."""

    name: str
    sequence: int
    records: tuple[bytes, ...]


def read(disk: Disk, keys: KeyRing) -> list[Stored]:
    """Return the files of the log, oldest first, cutting off what a crash left of a write that was not durable.

    Raises:
        Corrupt: Something that was durable is missing or damaged; the message names the file and the offset.
        FailedPrecondition: The data key is not among those given (reason WRONG_DATA_KEY).
    """
    names = [name for name in disk.names() if name.endswith(SUFFIX)]
    stored: list[Stored] = []
    for position, name in enumerate(names):
        newest = position == len(names) - 1
        scan = frames.scan(disk.read(name))
        if not (scan.clean or (newest and scan.torn)):
            raise _corrupt(disk, name, scan.end, "the checksum does not hold in what was durable")
        if not scan.frames and newest:
            _log.warning("raft_log_file_unfinished", file=name)
            disk.remove(name)  # the crash came while it was being made; nothing was in it yet
            break
        if not scan.clean:
            _log.warning("raft_log_tail_cut", file=name, offset=scan.end)
            disk.truncate(name, scan.end)
        stored.append(_unseal(disk, name, scan, keys))
    return stored


def _unseal(disk: Disk, name: str, scan: frames.Scan, keys: KeyRing) -> Stored:
    if scan.head is None or name != file_name(scan.head.sequence):
        raise _corrupt(disk, name, 0, "it does not begin as a log file of this name does")
    if not scan.frames:
        raise _corrupt(disk, name, scan.end, "it has no records")
    sealer = keys.open(scan.head.salt, _purpose(scan.head.sequence), scan.head.key_id, name)
    records: list[bytes] = []
    for frame in scan.frames:
        try:
            records.append(sealer.open(frame.offset, frame.sealed, _context(frame.synced_to)))
        except Damaged:
            raise _corrupt(disk, name, frame.offset, "the record was not written by this member") from None
    return Stored(name=name, sequence=scan.head.sequence, records=tuple(records))


class Wal:
    """The file that is being written."""

    def __init__(self, disk: Disk, keys: KeyRing, entropy: Callable[[int], bytes], sequence: int) -> None:
        self._disk = disk
        self._keys = keys
        self._entropy = entropy
        self.sequence = sequence
        self._sealer: Sealer | None = None
        self._size = 0
        self._synced = 0
        self._failed = False

    @property
    def name(self) -> str:
        """The name of the file."""
        return file_name(self.sequence)

    @property
    def full(self) -> bool:
        """Whether it is time for the next file."""
        return self._size >= FILE_BYTES_MAX

    def begin(self, first: bytes) -> None:
        """Begin the next file with this record, durably; what was appended to the one before is durable then, too."""
        with self._once():
            if self._sealer is not None:
                self._sync()
                self.sequence += 1
            salt = self._entropy(SALT_BYTES)
            self._sealer = self._keys.seal(salt, _purpose(self.sequence))
            head = frames.FileHead(key_id=self._sealer.key_id, salt=salt, sequence=self.sequence).encode()
            self._size, self._synced = len(head), 0
            data = head + self._frame(first)
            self._disk.create(self.name, data)
            self._size = self._synced = len(data)

    def append(self, record: bytes) -> None:
        """Add a record; it is durable after `sync`."""
        with self._once():
            data = self._frame(record)
            self._disk.append(self.name, data)
            self._size += len(data)

    def sync(self) -> None:
        """Make durable what was appended."""
        with self._once():
            self._sync()

    def replace_keys(self, keys: KeyRing) -> None:
        """Use these keys from the next file on."""
        self._keys = keys

    @contextmanager
    def _once(self) -> Iterator[None]:
        """Let nothing be written after a failure."""
        if self._failed:
            raise errors.Internal("the raft log failed before; restart to find out what of it is durable")
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def _sync(self) -> None:
        if self._synced < self._size:
            self._disk.sync(self.name)
            self._synced = self._size

    def _frame(self, record: bytes) -> bytes:
        assert self._sealer is not None, "no file is begun"
        assert len(record) <= frames.RECORD_BYTES_MAX // 2, f"a record of {len(record)} bytes"
        sealed = self._sealer.seal(self._size, record, _context(self._synced))
        return frames.encode(sealed, synced_to=self._synced)


def file_name(sequence: int) -> str:
    """Return the name of the log file of this number."""
    return f"{sequence:016x}{SUFFIX}"


def _purpose(sequence: int) -> bytes:
    return b"log %d" % sequence


def _context(synced_to: int) -> bytes:
    return synced_to.to_bytes(8, "big")


def _corrupt(disk: Disk, name: str, offset: int, what: str) -> Corrupt:
    return Corrupt(
        f"raft log {disk}/{name} is corrupt at offset {offset}: {what}. This member cannot keep what it promised "
        "to the others: restore the file, or remove the member from the cluster and let it join anew",
        metadata={"file": name, "offset": str(offset)},
    )
