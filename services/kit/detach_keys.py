"""Docker's notation of detach keys, for the daemon that watches for them and the command that is given them. Pure."""

from __future__ import annotations

from services.kit import errors

DEFAULT_KEYS = "ctrl-p,ctrl-q"
NONE = "-"
_SEQUENCE_MAX = 16
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}
_DELETE = 127


def parse(text: str) -> bytes:
    """Return the bytes of detach keys, for instance "ctrl-p,ctrl-q" or "a,ctrl-[" or "DEL".

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
    if key == "DEL":
        return _DELETE
    if control != key.lower() and len(control) == 1:
        if control in _CONTROL:
            return _CONTROL[control]
        if "a" <= control <= "z":
            return ord(control) - ord("a") + 1
    elif len(key) == 1 and key.isascii():
        return ord(key)
    raise errors.Invalid(
        f"unknown detach key {key!r}: write a single character, ctrl-LETTER, ctrl- with one of @[\\]^_, or DEL",
        reason="SPEC_INVALID",
    )
