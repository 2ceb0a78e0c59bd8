"""Snapshots on disk: one file each, written whole or not at all, sealed in chunks with the data key.

    file    magic 8 | key id 8 | salt 24 | checksum of the rest 4 | zeros 4 | pieces
    piece   length 4 | sealed bytes       the first is the meta, the last is empty

Each piece is bound to its number, and the empty one says that nothing was cut off.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import raft_pb2 as pb
from services.swarmd.raft.core.types import Snapshot
from services.swarmd.raft.shell import codec
from services.swarmd.raft.shell.sealing import KEY_ID_BYTES, SALT_BYTES, TAG_BYTES, Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.swarmd.raft.core.types import SnapshotMeta
    from services.swarmd.raft.shell.sealing import KeyRing

SUFFIX: Final = ".snapshot"
MAGIC: Final = b"BYSNAP\x00\x01"
_HEAD: Final = struct.Struct(f"<8s{KEY_ID_BYTES}s{SALT_BYTES}sI4x")
_LENGTH: Final = struct.Struct("<I")
_CHUNK_BYTES: Final = 1 << 20
_PURPOSE: Final = b"snapshot"


def file_name(meta: SnapshotMeta) -> str:
    """Return the name of a snapshot's file; names sort as the snapshots do."""
    return f"{meta.index:016x}-{meta.term:016x}{SUFFIX}"


def encode(snapshot: Snapshot, keys: KeyRing, salt: bytes) -> bytes:
    """Return the file of a snapshot."""
    sealer = keys.seal(salt, _PURPOSE)
    meta = codec.snapshot_meta_to_pb(snapshot.meta, size_bytes=len(snapshot.data)).SerializeToString()
    plain = [meta]
    view = memoryview(snapshot.data)
    plain.extend(bytes(view[at : at + _CHUNK_BYTES]) for at in range(0, len(view), _CHUNK_BYTES))
    plain.append(b"")
    pieces: list[bytes] = []
    crc = 0
    for number, piece in enumerate(plain):
        sealed = sealer.seal(number, piece, b"")
        for part in (_LENGTH.pack(len(sealed)), sealed):
            crc = zlib.crc32(part, crc)
            pieces.append(part)
    return b"".join((_HEAD.pack(MAGIC, sealer.key_id, salt, crc), *pieces))


def decode(data: bytes, keys: KeyRing, name: str) -> Snapshot:
    """Return the snapshot in a file.

    Raises:
        Damaged: The file is not what was written.
        FailedPrecondition: The data key is not among those given (reason WRONG_DATA_KEY).
    """
    if len(data) < _HEAD.size:
        raise Damaged(f"the file has {len(data)} bytes")
    magic, key_id, salt, crc = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Damaged("it does not begin as a snapshot does")
    if zlib.crc32(memoryview(data)[_HEAD.size :]) != crc:
        raise Damaged("the checksum does not hold")
    sealer = keys.open(salt, _PURPOSE, key_id, name)
    plain = [sealer.open(number, piece, b"") for number, piece in enumerate(_pieces(data))]
    if len(plain) < 2 or plain[-1]:
        raise Damaged("its end is missing")
    meta = pb.RaftSnapshotMeta.FromString(plain[0])
    contents = b"".join(plain[1:])
    if len(contents) != meta.size_bytes:
        raise Damaged(f"it holds {len(contents)} bytes of {meta.size_bytes}")
    return Snapshot(meta=codec.snapshot_meta_from_pb(meta), data=contents)


def _pieces(data: bytes) -> Iterator[bytes]:
    at = _HEAD.size
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise Damaged("it ends within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if not TAG_BYTES <= length <= len(data) - at:
            raise Damaged(f"a piece of {length} bytes at offset {at}")
        yield data[at : at + length]
        at += length
