"""Lists and inspections as docker prints them: aligned tables, Go templates, JSON lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cli.format import template

GAP = 3
COLUMN_MIN = 10
"""A column of a table is at least so wide, with the gap behind it."""


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    style: str,
    default: str,
    headers: Mapping[str, str],
    quiet_field: str = "",
) -> None:
    r"""Print a list.

    Args:
        rows: One mapping of field to value for each object.
        style: What --format said: "", "table", "table TEMPLATE", "json" or a template.
        default: Template of the default table, its columns parted by tabs.
        headers: Title of each field's column.
        quiet_field: With --quiet, the only field to print.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    if quiet_field and not style:
        _write("".join(f"{row[quiet_field]}\n" for row in rows))
    elif style == "json":
        _write(
            "".join(_json({key: row[key] for key in sorted(row) if not callable(row[key])}) for row in rows)
        )
    elif style in ("", "table") or style.startswith("table "):
        source = (
            default
            if style in ("", "table")
            else style.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
        )
        _write(table(rows, source, headers))
    else:
        layout = parse_template(style.replace("\\t", "\t").replace("\\n", "\n"))
        _write("".join(f"{render_template(layout, row)}\n" for row in rows))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines."""
    _write("".join(f"{line}\n" for line in lines))


def table(rows: Sequence[Mapping[str, Any]], source: str, headers: Mapping[str, str]) -> str:
    """Lay rows out under their titles.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    layout = parse_template(source)
    lines = [layout.titles(headers).split("\t"), *(render_template(layout, row).split("\t") for row in rows)]
    columns = max(map(len, lines))
    return align([line + [""] * (columns - len(line)) for line in lines], COLUMN_MIN)


def align(lines: Sequence[Sequence[str]], least: int = 0) -> str:
    """Lay cells out in columns, three spaces apart and at least `least` wide with them, without trailing space."""
    widths = [max(least - GAP, *(_width(line[column]) for line in lines)) for column in range(len(lines[0]))]
    return "".join(
        "".join(
            cell + " " * (width - _width(cell) + GAP) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def _width(text: str) -> int:
    """Cells that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def print_inspect(objects: Sequence[Mapping[str, Any]], style: str) -> None:
    """Print what `inspect` found: a JSON array, or a template for each object.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    if style in ("", "json"):
        _write(_json(list(objects), indented=not style))
        return
    layout = parse_template(style)
    _write("".join(f"{render_template(layout, entry)}\n" for entry in objects))


def print_object(shown: Mapping[str, Any], style: str) -> None:
    """Print one object as JSON, or through a template.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    if style in ("", "json"):
        _write(_json(shown, indented=not style))
    else:
        _write(f"{render_template(parse_template(style), shown)}\n")


def _json(value: object, *, indented: bool = False) -> str:
    import json

    from cli.format.values import plain

    separators = None if indented else (",", ":")
    text = json.dumps(plain(value), indent=4 if indented else None, separators=separators, ensure_ascii=False)
    return f"{text}\n"


def parse_template(source: str) -> template.Template:
    """Read a --format value.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    from cli.format import template

    try:
        return template.parse(source)
    except template.TemplateError as exc:
        raise errors.Invalid(f"--format: {exc}", reason="FORMAT_INVALID") from None


def render_template(layout: template.Template, value: object) -> str:
    """Expand a template over a value.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    from cli.format import template

    try:
        return layout.render(value)
    except template.TemplateError as exc:
        raise errors.Invalid(f"--format: {exc}", reason="FORMAT_INVALID") from None


def _write(text: str) -> None:
    """Write to standard output; text that its encoding lacks is escaped instead of failing."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode())
