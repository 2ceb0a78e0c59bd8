"""The files of one log: `ctr.log` being written, `ctr.log.1` the newest rotated one, and so on."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO

from services.containerd.logs import held
from services.containerd.logs.format import parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES = 64 << 10


def rotated(path: Path, number: int) -> Path:
    """Return the name of a rotated file; number 1 is the newest."""
    return path.with_name(f"{path.name}.{number}")


def existing(path: Path) -> list[Path]:
    """Return the files of a log, oldest first; none of one that has gone with its container."""
    try:
        names = [file.name for file in path.parent.iterdir()]
    except FileNotFoundError:
        return []
    beginning = f"{path.name}."
    suffixes = [name.removeprefix(beginning) for name in names if name.startswith(beginning)]
    numbers = sorted((int(suffix) for suffix in suffixes if suffix.isdecimal()), reverse=True)
    files = [rotated(path, number) for number in numbers]
    return [*files, path] if path.name in names else files


def rotate(path: Path) -> None:
    """Shift the files by one. conmon writes on into the renamed file until it is told to reopen.

    The oldest may be one too many until `trim`: removing takes its time, and who writes does not wait.
    """
    with held.changing:
        _rotate(path)


def _rotate(path: Path) -> None:
    if not path.exists():
        return
    held.before_rotation(path)
    number = 1
    while rotated(path, number).exists():
        number += 1
    for free in range(number, 1, -1):
        rotated(path, free - 1).rename(rotated(path, free))
    path.rename(rotated(path, 1))


def trim(path: Path, size_bytes_max: int, files_max: int) -> None:
    """Drop of the rotated files what is too much, or would not be there if each had been rotated in time.

    A fast writer gets past the limit before somebody looks, past a small one by far. Nobody may be writing to a rotated
    file any more; who reads one goes on with the file that he holds.
    """
    with contextlib.ExitStack() as removed, held.changing:
        _trim(path, size_bytes_max, files_max, removed)


def _trim(path: Path, size_bytes_max: int, files_max: int, removed: contextlib.ExitStack) -> None:
    left = size_bytes_max * (files_max - 1)
    for count, file in enumerate(reversed([each for each in existing(path) if each != path]), start=1):
        size = file.stat().st_size
        if left <= 0 or count >= files_max:
            with contextlib.suppress(OSError):  # its blocks are freed at the end, when nobody waits for us
                removed.enter_context(file.open("rb"))
            file.unlink(missing_ok=True)
        elif size > left + size_bytes_max // 4:  # not for the little that every file is too long
            _cut(file, size - left)
        left -= size
    held.after_removal(path)


def close(path: Path, size_bytes_max: int, files_max: int) -> None:
    """Bring a log that nobody writes to any more within its limits."""
    if not size_bytes_max or not path.parent.exists():
        return
    with contextlib.ExitStack() as removed, held.changing:
        if files_max > 1 and path.exists() and path.stat().st_size > size_bytes_max:
            _rotate(path)
        _trim(path, size_bytes_max, files_max, removed)


def _cut(file: Path, count: int) -> None:
    """Put a copy in the place of a file that lacks its first `count` bytes, and the rest of the line they end in."""
    copy = file.with_name(f"{file.name}.cut")  # not a number: not a file of the log
    try:
        with file.open("rb") as source, copy.open("wb") as target:
            source.seek(count)
            source.readline()  # most likely not all of it
            while (line := source.readline()) and not _ends_line(line):
                pass
            shutil.copyfileobj(source, target, _BLOCK_BYTES)
        shutil.copymode(file, copy)
        copy.replace(file)
    except OSError:
        copy.unlink(missing_ok=True)  # half a copy would only fill the disk further
        raise


def mend(path: Path) -> None:
    """End the last line of a log that a crash of the machine has torn, before somebody writes on behind it."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            file.write(b"\n")


def total_bytes(path: Path) -> int:
    """Return the size of all files of a log."""
    size_bytes = 0
    for file in existing(path):
        with contextlib.suppress(FileNotFoundError):  # it has just gone: rotated away, or with its container
            size_bytes += file.stat().st_size
    return size_bytes


def tail_offset(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Return where the last `lines` whole lines begin, and how many of them the file has.

    Lines are counted by what ends them (` F `, or the end of the file), so that the parts of a long line count as one.
    """
    position = size = file.seek(0, os.SEEK_END)
    found = 0
    carry = b""
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start) + carry
        first = 0
        if start > 0:
            newline = block.find(b"\n")
            if newline < 0:
                carry, position = block, start
                continue
            first = newline + 1
        for offset in _line_starts_backwards(block, first):
            end = block.find(b"\n", offset)
            last = end < 0 or start + end + 1 == size
            raw = block[offset:] if end < 0 else block[offset:end]
            if _ends_line(raw) or (last and parse(raw) is not None):
                if found == lines:
                    return start + _after(block, offset), found
                found += 1
        carry, position = block[:first], start
    return 0, found


def _line_starts_backwards(block: bytes, first: int) -> Iterator[int]:
    end = len(block) - 1 if block.endswith(b"\n") else len(block)
    while end >= first:
        newline = block.rfind(b"\n", first, end)
        yield newline + 1 if newline >= 0 else first
        if newline < 0:
            return
        end = newline


def _after(block: bytes, offset: int) -> int:
    newline = block.find(b"\n", offset)
    return newline + 1 if newline >= 0 else len(block)


def _ends_line(raw: bytes) -> bool:
    fields = raw.split(b" ", 3)
    return len(fields) == 4 and fields[2] == b"F"
