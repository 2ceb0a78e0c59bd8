"""Docker's filters of networks. Values of one key are alternatives, keys must all fit; labels must fit each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from services.kit import errors, units
from services.netd.core.state import State
from services.netd.model.network import Network

Filters: TypeAlias = Mapping[str, Sequence[str]]

LIST_KEYS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_KEYS = frozenset({"label", "label!", "until"})

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def check(filters: Filters, known: frozenset[str]) -> None:
    """Refuse filters that do not exist.

    Raises:
        errors.Invalid: A key is unknown.
    """
    for key in filters:
        if key not in known:
            raise errors.Invalid(
                f"invalid filter {key!r}: use {', '.join(sorted(known))}", reason="SPEC_INVALID"
            )


def fits(state: State, network: Network, filters: Filters, now: datetime) -> bool:
    """Return whether a network is selected.

    Raises:
        errors.Invalid: A value is none.
    """
    return all(_fits(state, network, key, values, now) for key, values in filters.items() if values)


def _fits(state: State, network: Network, key: str, values: Sequence[str], now: datetime) -> bool:
    match key:
        case "name":
            return any(value in network.name for value in values)
        case "id":
            return any(network.id.startswith(value) for value in values)
        case "driver":
            return network.driver in values
        case "scope":
            return "local" in values
        case "type":
            return any(_is_type(network, value) for value in values)
        case "dangling":
            unused = network.id in state.pools and state.pools[network.id].used_count == 0
            return any(_boolean(value) == (unused and not network.predefined) for value in values)
        case "label":
            return all(_has_label(network, value) for value in values)
        case "label!":
            return not any(_has_label(network, value) for value in values)
        case "until":
            return all(network.created_at < _instant(value, now) for value in values)
        case _:
            raise errors.Invalid(f"invalid filter {key!r}", reason="SPEC_INVALID")


def _is_type(network: Network, value: str) -> bool:
    if value not in {"builtin", "custom"}:
        raise errors.Invalid(f"invalid filter type={value}: use builtin or custom", reason="SPEC_INVALID")
    return network.predefined == (value == "builtin")


def _has_label(network: Network, wanted: str) -> bool:
    name, given, value = wanted.partition("=")
    return name in network.labels and (not given or network.labels[name] == value)


def _boolean(value: str) -> bool:
    if value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise errors.Invalid(f"invalid filter value {value!r}: neither true nor false", reason="SPEC_INVALID")


def _instant(value: str, now: datetime) -> datetime:
    """Return the instant that `until` says: a duration before now, a Unix time or an ISO date."""
    try:
        if value.replace(".", "", 1).isdecimal():
            return datetime.fromtimestamp(float(value), UTC)
        if value[:1].isdecimal() and value[-1:].isalpha() and value[-1:] != "Z":
            return now - timedelta(seconds=units.parse_duration(value))
        parsed = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise errors.Invalid(f"invalid filter until={value!r}", reason="SPEC_INVALID") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
