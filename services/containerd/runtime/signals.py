"""Names and numbers of signals. Pure."""

from __future__ import annotations

import signal

from services.kit import errors

_RTMIN = "SIGRTMIN"
_RTMAX = "SIGRTMAX"


def normalize(text: str) -> str:
    """Return the full name of "SIGTERM", "term", "15" or "RTMIN+3".

    Raises:
        errors.Invalid: There is no such signal.
    """
    name = text.strip().upper()
    if name.isdecimal():
        return _name(int(name), text)
    if not name.startswith("SIG"):
        name = f"SIG{name}"
    return _name(_number(name, text), text)


def number(text: str) -> int:
    """Return the number of a signal in any of its spellings.

    Raises:
        errors.Invalid: There is no such signal.
    """
    return _number(normalize(text), text)


def _number(name: str, text: str) -> int:
    for base, value in ((_RTMIN, int(signal.SIGRTMIN)), (_RTMAX, int(signal.SIGRTMAX))):
        if name.startswith(base):
            offset = name.removeprefix(base)
            sign, digits = (offset[:1], offset[1:]) if offset else ("+", "0")
            if sign not in "+-" or not digits.isdecimal() or len(digits) > 2:
                raise _unknown(text)
            return value + (int(digits) if sign == "+" else -int(digits))
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise _unknown(text) from None


def _name(value: int, text: str) -> str:
    low, high = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
    if low <= value <= high:
        return _RTMIN if value == low else f"{_RTMIN}+{value - low}"
    try:
        return signal.Signals(value).name
    except ValueError:
        raise _unknown(text) from None


def _unknown(text: str) -> errors.Invalid:
    return errors.Invalid(f"there is no signal {text!r}", reason="SPEC_INVALID")
