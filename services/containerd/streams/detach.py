"""Detach keys: a sequence typed on the terminal that ends an attach and not the container. Pure."""

from __future__ import annotations


class DetachFilter:
    """Finds the sequence in what is typed. Bytes that may begin it are held back until it is clear that they do not."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what goes on to the container, and whether the sequence is complete (then the rest is dropped)."""
        if not self._keys:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
                if len(self._keys) == 1:
                    return bytes(passed), True
            else:
                passed.append(byte)
        return bytes(passed), False
