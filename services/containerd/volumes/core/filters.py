"""Docker's filters of `volume ls` and `volume prune`.

The values of one key are alternatives, different keys all have to hold; several labels all have to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors
from services.kit.pattern import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.containerd.volumes.core.volume import Volume

_TRUE, _FALSE = (
    frozenset({"1", "true", "t", "True", "TRUE", "T"}),
    frozenset({"0", "false", "f", "False", "FALSE", "F"}),
)

_LISTED = ("dangling", "driver", "label", "name")
_PRUNED = ("all", "label", "label!")


def check(filters: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse filters of a list that are not known, also where there is no volume to try them on.

    Raises:
        errors.Invalid: Unknown key or value (FILTER_INVALID).
    """
    _check_keys(filters, _LISTED)
    for value in filters.get("dangling", ()):
        _flag(value, "dangling")
    for value in filters.get("name", ()):
        _named("", value)


def check_prune(filters: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse filters of a prune that are not known, also where there is nothing to prune.

    Raises:
        errors.Invalid: Unknown key or value (FILTER_INVALID).
    """
    _check_keys(filters, _PRUNED)
    for value in filters.get("all", ()):
        _flag(value, "all")


def matches(volume: Volume, filters: Mapping[str, tuple[str, ...]], *, used: bool) -> bool:
    """Return whether a volume is among those that a list with these filters, which are checked, shows."""
    for key, values in filters.items():
        match key:
            case "dangling":
                fits = any(_flag(value, key) is not used for value in values)
            case "driver":
                fits = volume.driver in values
            case "label":
                fits = all(_has_label(volume.labels, value) for value in values)
            case "name":
                fits = any(_named(volume.name, value) for value in values)
            case _:
                fits = False
        if not fits:
            return False
    return True


def matches_prune(volume: Volume, filters: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether an unused volume is among those that a prune with these filters, which are checked, removes."""
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
                fits = False
        if not fits:
            return False
    return volume.anonymous or named_too


def _check_keys(filters: Mapping[str, tuple[str, ...]], known: tuple[str, ...]) -> None:
    for key in filters:
        if key not in known:
            raise _invalid(f"invalid filter {key!r}; there are {', '.join(known)}")


def _named(name: str, value: str) -> bool:
    try:
        return compiled(value).found_in(name)
    except errors.Invalid as exc:
        raise _invalid(exc.message) from None


def _flag(text: str, key: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise _invalid(f"invalid value {text!r} of filter {key}: use true or false")
    return text in _TRUE


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    name, separator, value = wanted.partition("=")
    return name in labels and (not separator or labels[name] == value)


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="FILTER_INVALID")
