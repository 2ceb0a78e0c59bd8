"""Numbers as digits and small letters, padded to a fixed width: what ids and tokens are written in. Pure."""

from __future__ import annotations

from typing import Final

from services.kit import errors

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(DIGITS)}


def render(data: bytes, width: int) -> str:
    """Return `data`, read as a big-endian number, as `width` digits."""
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    for _ in range(width):
        number, value = divmod(number, len(DIGITS))
        digits.append(DIGITS[value])
    assert number == 0, f"{len(data)} bytes do not fit {width} digits"
    return "".join(reversed(digits))


def parse(text: str, size_bytes: int) -> bytes:
    """Return the number that `text` shows as `size_bytes` bytes; the inverse of `render`.

    Raises:
        errors.Invalid: A character is no digit, or the number needs more bytes.
    """
    number = 0
    for digit in text:
        value = _VALUES.get(digit)
        if value is None:
            raise errors.Invalid(f"{digit!r} is not a digit of base 36")
        number = number * len(DIGITS) + value
    try:
        return number.to_bytes(size_bytes, "big")
    except OverflowError:
        raise errors.Invalid(f"the number {text} needs more than {size_bytes} bytes") from None
