"""A disk that forgets what was not synced, in every way that real ones do.

`crash` decides the fate of unsynced appends: all there, nothing, cut anywhere, sectors missing (zeros), or garbage in
the end. `power_cut_after` lets an operation fail half-way: a file half written, a rename done or not done.
"""

from __future__ import annotations

from random import Random

_SECTOR = 64


class PowerCut(Exception):
    """The machine died during this operation."""


class _File:
    __slots__ = ("durable", "volatile")

    def __init__(self, durable: bytes) -> None:
        self.durable = durable
        self.volatile = b""


class SimDisk:
    """The disk of one member; lives through its crashes."""

    def __init__(self, rng: Random, name: str) -> None:
        self._rng = rng
        self._name = name
        self._files: dict[str, _File] = {}
        self._operations_left: int | None = None

    def __str__(self) -> str:
        return self._name

    # ---- the port

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        file = self._files.get(name)
        if file is None:
            raise FileNotFoundError(name)
        return file.durable + file.volatile

    def create(self, name: str, data: bytes) -> None:
        assert name not in self._files, f"{name} exists"
        if self._dies():
            if self._rng.random() < 0.7:
                self._files[name] = _File(data[: self._rng.randrange(len(data) + 1)])
            raise PowerCut
        self._files[name] = _File(data)

    def append(self, name: str, data: bytes) -> None:
        self._files[name].volatile += data
        if self._dies():
            raise PowerCut

    def sync(self, name: str) -> None:
        if self._dies():
            raise PowerCut
        file = self._files[name]
        file.durable += file.volatile
        file.volatile = b""

    def write(self, name: str, data: bytes) -> None:
        dies = self._dies()
        if not dies or self._rng.random() < 0.5:
            self._files[name] = _File(data)
        if dies:
            raise PowerCut

    def truncate(self, name: str, size_bytes: int) -> None:
        dies = self._dies()
        if not dies or self._rng.random() < 0.5:
            self._files[name] = _File(self.read(name)[:size_bytes])
        if dies:
            raise PowerCut

    def remove(self, name: str) -> None:
        dies = self._dies()
        if not dies or self._rng.random() < 0.5:
            del self._files[name]
        if dies:
            raise PowerCut

    # ---- its faults

    def power_cut_after(self, operations: int) -> None:
        """Fail in the operation after this many more that change something."""
        self._operations_left = operations

    def power_stays(self) -> None:
        """Take back `power_cut_after`."""
        self._operations_left = None

    def crash(self) -> None:
        """Lose what was not synced, or parts of it."""
        self._operations_left = None
        for name in sorted(self._files):
            file = self._files[name]
            if file.volatile:
                file.durable += self._what_is_left(file.volatile)
                file.volatile = b""

    def _what_is_left(self, data: bytes) -> bytes:
        fate = self._rng.randrange(5)
        if fate == 0:
            return b""
        if fate == 1:
            return data
        cut = self._rng.randrange(len(data) + 1)
        if fate == 2:
            return data[:cut]
        if fate == 3:
            return data[:cut] + self._rng.randbytes(len(data) - cut)
        sectors = [data[at : at + _SECTOR] for at in range(0, len(data), _SECTOR)]
        return b"".join(s if self._rng.random() < 0.5 else bytes(len(s)) for s in sectors)

    def _dies(self) -> bool:
        if self._operations_left is None:
            return False
        self._operations_left -= 1
        return self._operations_left < 0
