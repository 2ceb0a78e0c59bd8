"""Detach keys: a sequence typed on the terminal that ends an attach and not the container. Pure."""

from __future__ import annotations

from services.kit import errors

DEFAULT_KEYS = "ctrl-p,ctrl-q"
NONE = "-"
_SEQUENCE_MAX = 16
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(text: str) -> bytes:
    """Return the bytes of Docker's notation, for instance "ctrl-p,ctrl-q" or "a,ctrl-[".

    Raises:
        errors.Invalid: It is not that notation.
    """
    if text == NONE:
        return b""
    keys = (text or DEFAULT_KEYS).split(",")
    if len(keys) > _SEQUENCE_MAX:
        raise errors.Invalid(f"more than {_SEQUENCE_MAX} detach keys", reason="SPEC_INVALID")
    return bytes(_parse_key(key) for key in keys)


def _parse_key(key: str) -> int:
    control = key.lower().removeprefix("ctrl-")
    if control != key.lower() and len(control) == 1:
        if control in _CONTROL:
            return _CONTROL[control]
        if "a" <= control <= "z":
            return ord(control) - ord("a") + 1
    elif len(key) == 1 and key.isascii():
        return ord(key)
    raise errors.Invalid(f"unknown detach key {key!r}: write a letter or ctrl-LETTER", reason="SPEC_INVALID")


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
