"""Docker's filters of `ps` and `prune`. Pure.

The values of one key are alternatives, but for labels, which all have to be there; different keys all have to hold. A
key that is not known is an error, never ignored.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.containerd.model import ports
from services.containerd.model.status import State
from services.containerd.neighbours.sandboxes import published
from services.containerd.ocispec import resolve
from services.kit import errors, units
from services.kit.pattern import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from services.containerd.model.status import Record

PORT_DIGITS_MAX = 5
_STATUSES = frozenset(state.value for state in State)
_PRUNED = ("label", "label!", "until")


def check(filters: Iterable[str]) -> None:
    """Refuse filters of `ps` that are not known, also where there is no container to try them on.

    Raises:
        errors.Invalid: Unknown key (FILTER_INVALID).
    """
    for key in filters:
        if key not in _CHECKS:
            raise _invalid(f"unknown filter {key!r}; there are {', '.join(sorted(_CHECKS))}")


def check_prune(filters: Mapping[str, tuple[str, ...]], now: datetime) -> None:
    """Refuse filters of a prune that are not known, also where there is nothing to prune.

    Raises:
        errors.Invalid: Unknown key, or `until` is no moment (FILTER_INVALID).
    """
    for key in filters:
        if key not in _PRUNED:
            raise _invalid(f"unknown filter {key!r}; there are {', '.join(_PRUNED)}")
    for value in filters.get("until", ()):
        _moment(value, now)


def matches(record: Record, filters: Mapping[str, tuple[str, ...]], find: Callable[[str], Record]) -> bool:
    """Return whether a container is among those that the filters of `ps`, which are checked, ask for.

    Args:
        record: The container.
        filters: By key.
        find: Returns the container that `before` and `since` name.

    Raises:
        errors.Invalid: Unknown value (FILTER_INVALID).
    """
    for key, values in filters.items():
        of_these = all if key == "label" else any  # as docker: several labels all have to be there
        if not of_these(_CHECKS[key](record, value, find) for value in values):
            return False
    return True


def matches_prune(record: Record, filters: Mapping[str, tuple[str, ...]], now: datetime) -> bool:
    """Return whether a stopped container is among those that a prune with these filters, checked, removes."""
    labels = resolve.labels(record.spec, record.image)
    for key, values in filters.items():
        match key:
            case "label":
                fits = all(_has_label(labels, value) for value in values)
            case "label!":
                fits = not any(_has_label(labels, value) for value in values)
            case "until":
                fits = all(record.created_at < _moment(value, now) for value in values)
            case _:
                fits = False
        if not fits:
            return False
    return True


def _ancestor(record: Record, value: str, _find: object) -> bool:
    image_id = record.image.id.removeprefix("sha256:")
    wanted = value.removeprefix("sha256:")
    return record.spec.image in (value, f"{value}:latest") or (
        len(wanted) >= 4 and image_id.startswith(wanted)
    )


def _before(record: Record, value: str, find: Callable[[str], Record]) -> bool:
    return record.created_at < find(value).created_at


def _since(record: Record, value: str, find: Callable[[str], Record]) -> bool:
    return record.created_at > find(value).created_at


def _exited(record: Record, value: str, _find: object) -> bool:
    if not value.isdecimal():
        raise _invalid(f"exit code {value!r} is no number")
    return record.status.state in (State.EXITED, State.DEAD) and record.status.exit_code == int(value)


def _expose(record: Record, value: str, _find: object) -> bool:
    network = record.spec.network
    published = (
        f"{port}/{binding.protocol or 'tcp'}"
        for binding in network.ports
        for port in range(binding.container_port, max(binding.container_port, binding.container_port_end) + 1)
    )
    exposed = itertools.chain(record.image.exposed_ports, network.expose, published)
    return any(_in_ports(entry, value) for entry in exposed)


def _in_ports(entry: str, wanted: str) -> bool:
    """Return whether an exposed port ("80/tcp") is one of those that a filter names: "80", "80/udp", "80-90/tcp"."""
    port, _, protocol = entry.partition("/")
    numbers, _, wanted_protocol = wanted.partition("/")
    first, _, last = numbers.partition("-")
    if not all(text.isdecimal() and len(text) <= PORT_DIGITS_MAX for text in (first, last or first)):
        raise _invalid(f"port {wanted!r} is no number or range")
    return (
        port.isdecimal()
        and int(first) <= int(port) <= int(last or first)
        and ((wanted_protocol or "tcp") == (protocol or "tcp"))
    )


def _health(record: Record, value: str, _find: object) -> bool:
    if value not in ("none", "starting", "healthy", "unhealthy"):
        raise _invalid(f"unknown health {value!r}")
    health = record.status.health
    return value == ("none" if health is None else health.state.value)


def _id(record: Record, value: str, _find: object) -> bool:
    return record.id.startswith(value)


def _is_task(record: Record, value: str, _find: object) -> bool:
    if value.lower() not in ("1", "true", "0", "false"):
        raise _invalid(f"is-task={value}: give true or false")
    return (value.lower() in ("1", "true")) == ("com.docker.swarm.task.id" in record.spec.labels)


def _label(record: Record, value: str, _find: object) -> bool:
    return _has_label(resolve.labels(record.spec, record.image), value)


def _name(record: Record, value: str, _find: object) -> bool:
    try:
        pattern = compiled(value)
    except errors.Invalid as exc:
        raise _invalid(exc.message) from None
    return pattern.found_in(record.name) or pattern.found_in(f"/{record.name}")


def _network(record: Record, value: str, _find: object) -> bool:
    network = record.spec.network
    names = {network.mode or "bridge", *(endpoint.network for endpoint in network.endpoints)}
    run = record.status.run
    if run is not None and run.network is not None:
        names |= {endpoint.network_id for endpoint in run.network.endpoints}
    return value in names


def _publish(record: Record, value: str, _find: object) -> bool:
    first, last, protocol = _ports(value)
    run = record.status.run
    bound = run.network.ports if run is not None and run.network is not None else ()
    return any(
        protocol in ("", binding.protocol or "tcp")
        and any(
            from_ <= last and first <= max(to, from_)
            for from_, to in (
                (binding.host_port, binding.host_port_end),
                (binding.container_port, binding.container_port_end),
            )
        )
        for binding in (*bound, *published(record.spec, record.image))
    )


def _ports(text: str) -> tuple[int, int, str]:
    """Return first and last port of "80", "80/udp" or "8000-8010"; the protocol is empty if any will do."""
    try:
        first, last, protocol = ports.exposed(text)
    except errors.Invalid:
        raise _invalid(f"{text[:80]!r} is no port: write it as 80, 80/udp or 8000-8010/tcp") from None
    return first, last, protocol if "/" in text else ""


def _status(record: Record, value: str, _find: object) -> bool:
    if value not in _STATUSES:
        raise _invalid(f"unknown status {value!r}; there are {', '.join(sorted(_STATUSES))}")
    return record.status.state.value == value


def _volume(record: Record, value: str, _find: object) -> bool:
    return any(value in (point.mount.source, point.mount.target) for point in record.mounts)


def _isolation(_record: Record, value: str, _find: object) -> bool:
    return value in ("", "default")


_CHECKS: Mapping[str, Callable[[Record, str, Callable[[str], Record]], bool]] = {
    "ancestor": _ancestor,
    "before": _before,
    "exited": _exited,
    "expose": _expose,
    "health": _health,
    "id": _id,
    "is-task": _is_task,
    "isolation": _isolation,
    "label": _label,
    "name": _name,
    "network": _network,
    "publish": _publish,
    "since": _since,
    "status": _status,
    "volume": _volume,
}


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    name, separator, value = wanted.partition("=")
    return name in labels and (not separator or labels[name] == value)


def _moment(text: str, now: datetime) -> datetime:
    """Return the moment that `until` names: a duration before now, seconds since the epoch, or a date."""
    try:
        if text.replace(".", "", 1).isdecimal():
            return datetime.fromtimestamp(float(text), UTC)
        if text[:1].isdecimal() and text[-1:].isalpha() and "T" not in text:
            return now - timedelta(seconds=units.parse_duration(text))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, errors.Invalid):
        raise _invalid(f"until {text!r} is neither a duration nor a moment") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def from_lists(lists: Iterable[tuple[str, Iterable[str]]]) -> dict[str, tuple[str, ...]]:
    """Return filters from what the wire has."""
    return {key: tuple(values) for key, values in lists}


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="FILTER_INVALID")
