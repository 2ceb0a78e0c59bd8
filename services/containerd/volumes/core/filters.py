"""Docker's filters of `volume ls` and `volume prune`.

The values of one key are alternatives, different keys all have to hold; several labels all have to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.containerd.volumes.core.volume import Volume

_TRUE, _FALSE = (
    frozenset({"1", "true", "t", "True", "TRUE", "T"}),
    frozenset({"0", "false", "f", "False", "FALSE", "F"}),
)


def matches(volume: Volume, filters: Mapping[str, tuple[str, ...]], *, used: bool) -> bool:
    """Return whether a volume is among those that a list with these filters shows.

    Raises:
        errors.Invalid: Unknown key or value (FILTER_INVALID).
    """
    for key, values in filters.items():
        match key:
            case "dangling":
                fits = any(_flag(value, key) is not used for value in values)
            case "driver":
                fits = volume.driver in values
            case "label":
                fits = all(_has_label(volume.labels, value) for value in values)
            case "name":
                fits = any(value in volume.name for value in values)
            case _:
                raise _invalid(f"invalid filter {key!r}; there are dangling, driver, label, name")
        if not fits:
            return False
    return True


def matches_prune(volume: Volume, filters: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether an unused volume is among those that a prune with these filters removes.

    Raises:
        errors.Invalid: Unknown key or value (FILTER_INVALID).
    """
    named_too = False
    for key, values in filters.items():
        match key:
            case "all":
                named_too = named_too or any(_flag(value, key) for value in values)
                fits = True
            case "label":
                fits = all(_has_label(volume.labels, value) for value in values)
            case "label!":
                fits = not any(_has_label(volume.labels, value) for value in values)
            case _:
                raise _invalid(f"invalid filter {key!r}; there are all, label, label!")
        if not fits:
            return False
    return volume.anonymous or named_too


def _flag(text: str, key: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise _invalid(f"invalid value {text!r} of filter {key}: use true or false")
    return text in _TRUE


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    name, separator, value = wanted.partition("=")
    return name in labels and (not separator or labels[name] == value)


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="FILTER_INVALID")
