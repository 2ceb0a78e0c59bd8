"""The small grammars that options share: key=value, CSV, sizes, durations, processors."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from cli import errors as cli_errors
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

invalid = cli_errors.invalid
NANO = 1_000_000_000
UINT32_MAX = (1 << 32) - 1
INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1
_DIGITS_MAX = 20
_CPUS = re.compile(r"([0-9]{0,6})(?:\.([0-9]{0,9}))?", re.ASCII)
ENV_FILE_BYTES_MAX = 1 << 20


def key_value(text: str, option: str) -> tuple[str, str]:
    """Split "key=value" or "key".

    Raises:
        errors.Invalid: There is no key.
    """
    key, _, value = text.partition("=")
    if not key:
        raise invalid(f"{option} {text!r}: give key=value")
    return key, value


def mapping(values: Iterable[str], option: str) -> dict[str, str]:
    """Read several "key=value"; the last of a key wins."""
    return dict(key_value(text, option) for text in values)


def csv_fields(text: str, option: str) -> list[tuple[str, str | None]]:
    """Read one line of CSV whose fields are "key=value" or "key", as --mount takes it.

    Raises:
        errors.Invalid: The line is no CSV, or a field has no key.
    """
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as exc:
        raise invalid(f"{option} {text!r}: {exc}") from None
    fields: list[tuple[str, str | None]] = []
    for cell in rows[0] if rows else []:
        key, separator, value = cell.partition("=")
        if not key.strip():
            raise invalid(f"{option} {text!r}: a field has no name")
        fields.append((key.strip().lower(), value if separator else None))
    return fields


def flag(value: str | None, field: str, option: str) -> bool:
    """Read a boolean field: present without a value is true.

    Raises:
        errors.Invalid: It is no boolean.
    """
    if value is None or value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise invalid(f"{option}: invalid value for {field}: {value}: give true or false")


def milliseconds(text: str) -> int:
    """Read a duration such as "1m30s"."""
    return round(units.parse_duration(text) * 1000)


def whole(text: str, option: str, *, base: int = 10, most: int = UINT32_MAX) -> int:
    """Read a whole number that is not negative.

    Raises:
        errors.Invalid: It is none, or larger than `most`.
    """
    digits = "01234567" if base == 8 else "0123456789"
    if not 0 < len(text) <= _DIGITS_MAX or not set(text) <= set(digits) or int(text, base) > most:
        kind = "octal digits" if base == 8 else "a whole number"
        raise invalid(f"{option} {text!r}: give {kind}")
    return int(text, base)


def positive_milliseconds(text: str, option: str) -> int:
    """Read a duration that is not negative.

    Raises:
        errors.Invalid: It is no duration, negative, or so short that it would count as none.
    """
    try:
        seconds = units.parse_duration(text)
    except errors.Invalid as exc:
        raise invalid(f"{option}: {exc.message}") from None
    if seconds < 0:
        raise invalid(f"{option} cannot be negative")
    if 0 < seconds < 0.001:
        raise invalid(f"{option} cannot be less than 1ms")
    return round(seconds * 1000)


def nano_cpus(text: str, option: str) -> int:
    """Read processors such as "1.5", in billionths.

    Raises:
        errors.Invalid: Not a number, negative, finer than billionths, or more than a machine can have.
    """
    match = _CPUS.fullmatch(text)
    if match is None or text == ".":
        raise invalid(f"{option} {text!r}: give a number of CPUs such as 1.5, with at most 9 decimals")
    return int(match[1] or "0") * NANO + int((match[2] or "").ljust(9, "0"))


def environment(
    values: Iterable[str], files: Iterable[str], environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Merge --env-file and --env: later ones win; a name alone takes the caller's value.

    A name that the caller does not have either is left out if it stands in a file; as an option it stays a name alone,
    which takes the variable out of the image's.

    Raises:
        errors.Invalid: A file cannot be read or a line has no name.
    """
    lines = [(line, True) for path in files for line in file_entries(path, "--env-file")]
    merged: dict[str, str | None] = {}
    for text, from_file in [*lines, *((value, False) for value in values)]:
        key, separator, value = text.partition("=")
        if not key:
            raise invalid(f"--env {text!r}: give NAME=value or NAME")
        if separator:
            merged[key] = value
        elif key in environ:
            merged[key] = environ[key]
        elif not from_file:
            merged[key] = None
    return [key if value is None else f"{key}={value}" for key, value in merged.items()]


def file_entries(path: str, option: str) -> list[str]:
    """Entries of an env or label file, "NAME=value" or "NAME", without comments and empty lines.

    Raises:
        errors.Invalid: It cannot be read, is no UTF-8, is too large, or a line has no name or one with spaces.
    """
    from pathlib import Path

    if not path:
        raise invalid(f"{option} '': give the name of a file")
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as exc:
        raise invalid(f"{option} {path}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise invalid(f"{option} {path}: the file is not UTF-8") from None
    if len(data) > ENV_FILE_BYTES_MAX:
        raise invalid(f"{option} {path}: the file is larger than {ENV_FILE_BYTES_MAX} bytes")
    entries = []
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.removesuffix("\r").lstrip()
        if not entry or entry.startswith("#"):
            continue
        name = entry.partition("=")[0]
        if not name:
            raise invalid(f"{option} {path}: line {number} has no name: {entry!r}")
        if any(character.isspace() for character in name):
            raise invalid(f"{option} {path}: line {number}: the name {name!r} contains whitespace")
        if "\0" in entry:
            raise invalid(f"{option} {path}: line {number}: the value of {name!r} holds a NUL byte")
        entries.append(entry)
    return entries
