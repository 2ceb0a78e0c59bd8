"""The journal's export format: fields of entries out of a stream of bytes. Pure.

A field is a line NAME=value, or, if the value is no plain text, a line NAME, its length in 8 bytes, little-endian, and
the value. An empty line ends an entry.
Source: https://systemd.io/JOURNAL_EXPORT_FORMATS/
"""

from __future__ import annotations

from services.kit import errors

ENTRY_BYTES_MAX = 8 << 20
"""conmon writes parts of 8 KiB; whatever else is in an entry is left out when the journal is asked."""
_LENGTH_BYTES = 8


class ExportParser:
    """Turns pieces of an export into entries."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, bytes] = {}

    def feed(self, data: bytes) -> list[dict[str, bytes]]:
        """Return the entries that are whole now.

        Raises:
            errors.Internal: An entry has no end.
        """
        text = self._rest + data
        entries: list[dict[str, bytes]] = []
        position = 0
        while (end := text.find(b"\n", position)) >= 0:
            line = text[position:end]
            name, equals, value = line.partition(b"=")
            after = end + 1
            if line and not equals:
                start = after + _LENGTH_BYTES
                size = int.from_bytes(text[after:start], "little")
                if size > ENTRY_BYTES_MAX and start <= len(text):
                    raise _endless()
                if start + size >= len(text):
                    break  # the value and its newline are not here yet
                value, after = text[start : start + size], start + size + 1
            if line:
                self._fields[name.decode("ascii", "replace")] = value
            elif self._fields:
                entries.append(self._fields)
                self._fields = {}
            position = after
        self._rest = text[position:]
        if len(self._rest) > ENTRY_BYTES_MAX + _LENGTH_BYTES:
            raise _endless()
        return entries


def _endless() -> errors.Internal:
    return errors.Internal("journalctl writes what is no export of a journal", reason="JOURNAL_UNREADABLE")
