"""The errors of the checks, and the bounds that many of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHOWN_CHARS_MAX = 120
DURATION_MS_MAX = 10 * 365 * 24 * 3600 * 1000
COUNT_MAX = 100_000
LABEL_KEY_CHARS_MAX = 1024


def invalid(field: str, message: str, reason: str = "SPEC_INVALID") -> errors.Invalid:
    """Return the error for a field, which is named by its path in the message."""
    return errors.Invalid(f"{field}: {message}", reason=reason, metadata={"field": field})


def shown(text: str) -> str:
    """Return a text as it may stand in a message: quoted, and not without end."""
    return repr(text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…")


def check_duration(field: str, value_ms: int) -> None:
    """Refuse durations that can only be a mistake, such as a negative number taken for an unsigned one."""
    if value_ms > DURATION_MS_MAX:
        raise invalid(field, f"{value_ms} ms are more than ten years (was a negative number meant?)")


def check_count(field: str, value: int, count_max: int = COUNT_MAX) -> None:
    """Refuse counts beyond any swarm."""
    if value > count_max:
        raise invalid(field, f"{value} is more than {count_max} (was a negative number meant?)")


def check_enum(field: str, value: int, known: Iterable[int]) -> None:
    """Refuse values that this version does not know."""
    if value not in known:
        raise invalid(field, f"{value} means nothing here")


def check_text(field: str, text: str) -> None:
    """Refuse what no program can be given."""
    if "\0" in text:
        raise invalid(field, "it contains a NUL character")


def check_labels(field: str, labels: Mapping[str, str]) -> None:
    """Refuse labels that have no name."""
    for key, value in labels.items():
        if not key.strip():
            raise invalid(field, "a label has no name")
        if len(key) > LABEL_KEY_CHARS_MAX:
            raise invalid(
                field, f"the name of label {shown(key)} is longer than {LABEL_KEY_CHARS_MAX} characters"
            )
        check_text(field, key)
        check_text(field, value)
