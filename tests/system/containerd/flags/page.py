"""Reads docs/reference/flags.md: one row per flag."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

PAGE = Path(__file__).parents[4] / "docs/reference/flags.md"
WORDS = ("yes", "ours", "where it can", "no effect", "refused")
_ROW = re.compile(r"\| (?P<flags>`-[^|]*`) \| (?P<word>[^|]*) \| (?P<example>[^|]*) \| (?P<remark>[^|]*) \|")


@dataclasses.dataclass(frozen=True)
class Row:
    """What the page says of a flag of one command."""

    command: str
    flags: tuple[str, ...]
    word: str
    example: str
    remark: str

    @property
    def long(self) -> str:
        """Its long name."""
        return self.flags[-1]


def read() -> tuple[Row, ...]:
    """Return all rows; a section that describes several commands gives each its own."""
    rows: list[Row] = []
    commands: list[str] = []
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            commands = line.removeprefix("## ").split(", ")
        if (match := _ROW.fullmatch(line)) is None:
            assert not line.startswith("| `-"), f"no row: {line}"
            continue
        flags = tuple(re.findall(r"`([^`]+)`", match["flags"]))
        assert match["word"] in WORDS, line
        only = re.search(r"`(\w+)` only", match["remark"])
        for command in commands:
            if only is None or only[1] == command:
                rows.append(
                    Row(
                        command=command,
                        flags=flags,
                        word=match["word"],
                        example=match["example"].strip("` "),
                        remark=match["remark"],
                    )
                )
    return tuple(rows)
