"""Checkpoints on disk: a directory each, with CRIU's images and a description of ours that makes it a checkpoint.

It is made beside its place (`.NAME.partial`) and renamed when it is whole: what has its name can be restored from, as
far as anybody can tell. All functions block.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

from services.kit import atomic, errors

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

DESCRIPTION: Final = "beeyard.json"
CHUNK_BYTES: Final = 1 << 20
FILES_MAX: Final = 100_000
"""Of one checkpoint: a file for each process and each memory map, some more."""
_PARTIAL: Final = ".partial"
_YEARS: Final = (1970, 9000)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a checkpoint besides its images."""

    runtime: str
    """Name of the runtime that made it: only the same can restore it."""
    created_at: str
    """ISO 8601."""
    boot_id: str = ""
    """Of the node, while it was up."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Of the container, by network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint."""

    name: str
    created_at: datetime
    size_bytes: int


def check_name(name: str) -> None:
    """Refuse what is no name of a checkpoint.

    Raises:
        errors.Invalid: SPEC_INVALID.
    """
    if _NAME.fullmatch(name) is None:
        raise errors.Invalid(
            f"invalid checkpoint name {name[:80]!r}: letters, digits, '_', '.' and '-', at most 128",
            reason="SPEC_INVALID",
        )


def make_room(path: Path) -> Path:
    """Return an empty directory in which a checkpoint can be made.

    Raises:
        errors.AlreadyExists: CHECKPOINT_EXISTS.
    """
    if path.exists():
        raise errors.AlreadyExists(f"there is a checkpoint {path.name} already", reason="CHECKPOINT_EXISTS")
    partial = _partial(path)
    discard(path)
    partial.mkdir(mode=0o700, parents=True)
    return partial


def write_description(partial: Path, description: Description) -> None:
    """Say of what is being made what it is: before, while a full disk harms nobody."""
    atomic.write(partial / DESCRIPTION, json.dumps(asdict(description)).encode())


def complete(path: Path) -> None:
    """Give what was made its name, when it is on the disk."""
    partial = _partial(path)
    for file in partial.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    atomic.fsync_dir(partial)
    partial.rename(path)
    atomic.fsync_dir(path.parent)


def discard(path: Path) -> None:
    """Remove what was made and is not complete. Idempotent."""
    partial = _partial(path)
    if partial.exists():
        shutil.rmtree(partial)


def describe(path: Path) -> Description:
    """Return the description of a checkpoint.

    Raises:
        errors.NotFound: CHECKPOINT_NOT_FOUND.
    """
    try:
        data = json.loads((path / DESCRIPTION).read_bytes())
        described = Description(
            runtime=str(data["runtime"]),
            created_at=str(data["created_at"]),
            boot_id=str(data.get("boot_id", "")),
            addresses={str(name): str(ip) for name, ip in data.get("addresses", {}).items()},
        )
        _time(described)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise errors.NotFound(f"no such checkpoint: {path.name}", reason="CHECKPOINT_NOT_FOUND") from exc
    return described


def _time(description: Description) -> datetime:
    """Return when it was made; ValueError if that is no time of this era."""
    at = datetime.fromisoformat(description.created_at)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if not _YEARS[0] <= at.year <= _YEARS[1]:
        raise ValueError(f"{description.created_at} is no time at which it can have been made")
    return at


def found(directory: Path) -> list[Checkpoint]:
    """Return the checkpoints in a directory, by name."""
    checkpoints: list[Checkpoint] = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if _NAME.fullmatch(path.name) is None:
            continue  # not whole
        try:
            description = describe(path)
        except errors.NotFound:
            continue
        size_bytes = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        checkpoints.append(Checkpoint(name=path.name, created_at=_time(description), size_bytes=size_bytes))
    return checkpoints


def remove(path: Path) -> None:
    """Remove a checkpoint.

    Raises:
        errors.NotFound: CHECKPOINT_NOT_FOUND.
    """
    describe(path)
    doomed = _partial(path)
    discard(path)
    path.rename(doomed)  # half of one has no name
    shutil.rmtree(doomed)


def pack(path: Path) -> Generator[bytes, None, None]:
    """Yield a checkpoint as tar.

    Raises:
        errors.NotFound: CHECKPOINT_NOT_FOUND.
    """
    describe(path)
    for file in sorted(path.iterdir()):
        if file.is_symlink() or not file.is_file():
            continue
        with file.open("rb") as opened:
            info = tarfile.TarInfo(file.name)
            info.size = os.fstat(opened.fileno()).st_size
            info.mode = 0o600
            yield info.tobuf(tarfile.PAX_FORMAT)
            left = info.size
            while left:
                chunk = opened.read(min(CHUNK_BYTES, left)) or bytes(min(CHUNK_BYTES, left))
                left -= len(chunk)
                yield chunk
            yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def unpack(archive: IO[bytes], path: Path) -> None:
    """Make a checkpoint of a tar, completely or not at all.

    Raises:
        errors.AlreadyExists: CHECKPOINT_EXISTS.
        errors.Invalid: ARCHIVE_INVALID: it is no checkpoint's.
    """
    partial = make_room(path)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for count, member in enumerate(tar):
                if not member.isfile() or "/" in member.name or member.name.startswith("."):
                    raise _invalid(f"it holds {member.name[:80]!r}, which is no file of a checkpoint")
                if count >= FILES_MAX:
                    raise _invalid(f"it holds more than {FILES_MAX} files")
                content = tar.extractfile(member)
                assert content is not None, "a regular file has content"
                with content, (partial / member.name).open("xb") as target:
                    shutil.copyfileobj(content, target, CHUNK_BYTES)
        describe(partial)
    except (tarfile.TarError, FileExistsError, EOFError, errors.NotFound) as exc:
        discard(path)
        raise _invalid(str(exc)) from exc
    except BaseException:
        discard(path)
        raise
    complete(path)


def named(partial: Path) -> Path:
    """Return the name that a checkpoint gets when it is whole."""
    return partial.with_name(partial.name.removeprefix(".").removesuffix(_PARTIAL))


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PARTIAL}")


def _invalid(what: str) -> errors.Invalid:
    return errors.Invalid(f"the archive is no checkpoint: {what}", reason="ARCHIVE_INVALID")
