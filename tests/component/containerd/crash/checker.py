"""Compares what was promised, what the daemon says, and what the machine shows. Each fault is a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from beeyard.container.v1 import container_pb2 as pb
from tests.component.containerd.crash.history import History, Place
from tests.component.containerd.crash.machine import Parts, Seen, start_ticks

PLACES = {
    pb.CONTAINER_STATE_CREATED: Place.CREATED,
    pb.CONTAINER_STATE_RUNNING: Place.UP,
    pb.CONTAINER_STATE_PAUSED: Place.PAUSED,
    pb.CONTAINER_STATE_RESTARTING: Place.AGAIN,
    pb.CONTAINER_STATE_EXITED: Place.DOWN,
}


def machine_faults(found: Iterable[pb.Container], seen: Seen) -> list[str]:
    """Say what the machine shows that does not fit what the daemon says, or itself. Empty at rest."""
    faults = [f"stray: {stray}" for stray in seen.strays]
    listed = {entry.id: entry for entry in found}
    for key in sorted({*seen.parts, *listed}):
        entry, parts = listed.get(key), seen.parts.get(key, Parts())
        label = f"{entry.name} ({key[:12]})" if entry is not None else key[:12]
        faults += [f"{label}: {fault}" for fault in _faults_of_one(entry, parts)]
    return faults


def _faults_of_one(entry: pb.Container | None, parts: Parts) -> list[str]:
    if entry is None:
        kept = {"record": parts.recorded, "layer": parts.layer, "directory": parts.directory}
        left = [name for name, there in kept.items() if there] + parts.held()
        return [f"left although it is gone: {part}" for part in left]
    place = PLACES.get(entry.status.state)
    if place is None:
        return [f"is {pb.ContainerState.Name(entry.status.state)}: {entry.status.error}"]
    faults = [] if parts.recorded else ["has no record"]
    faults += [] if parts.layer else ["has no writable layer"]
    faults += [] if parts.directory else ["has no directory"]
    if place in (Place.CREATED, Place.DOWN):
        return faults + [f"holds, although it does not run: {part}" for part in parts.held()]
    if place is Place.AGAIN:
        return faults  # between two runs everything is allowed, for a moment
    return faults + _faults_of_run(entry, parts)


def _faults_of_run(entry: pb.Container, parts: Parts) -> list[str]:
    """Say what is missing of a run, or there twice."""
    own_network = not entry.spec.network.mode.startswith("container:")
    needed = {
        "bundle": parts.bundle,
        "mounted root": parts.root,
        "runtime state": parts.state,
        "control group": bool(parts.groups),
        "sandbox": parts.sandbox or not own_network,
        "init": bool(parts.init),
    }
    faults = [f"runs without its {name}" for name, there in needed.items() if not there]
    if len(parts.conmons) != 1:
        faults.append(f"runs with {len(parts.conmons)} conmons")
    if parts.exit_file:
        faults.append("runs, and has an exit file")
    is_paused = entry.status.state == pb.CONTAINER_STATE_PAUSED
    if parts.frozen is not is_paused:
        faults.append(
            "is said to be paused, and is not" if is_paused else "is frozen, and nobody has paused it"
        )
    if parts.init and parts.init != entry.status.pid:
        faults.append(f"has the init {parts.init}, and is said to have {entry.status.pid}")
    faults += [
        f"keeps the directory of an exec that has ended: {path}"
        for path, pids in parts.execs.items()
        if not pids
    ]
    return faults


def promises_broken(histories: Iterable[History], found: Iterable[pb.Container]) -> list[str]:
    """Say what was answered, and does not hold any more."""
    by_name = {entry.name: entry for entry in found}
    faults: list[str] = []
    for history in histories:
        entry = _found(history, by_name)
        faults += [f"{history.container.name}: {fault}" for fault in _broken(history, entry)]
    return faults


def _found(history: History, by_name: Mapping[str, pb.Container]) -> pb.Container | None:
    for name in history.names:
        if name in by_name:
            return by_name[name]
    return None


def _broken(history: History, entry: pb.Container | None) -> list[str]:
    place = PLACES.get(entry.status.state) if entry is not None else Place.ABSENT
    if place not in history.possible:
        possible = ", ".join(sorted(place.name for place in history.possible))
        return [f"is {place.name if place else entry}, and could only be {possible}"]
    if entry is None:
        return []
    faults = []
    status = entry.status
    if history.id and entry.id != history.id:
        faults.append(f"has the id {entry.id}, and was created as {history.id}")
    known = history.pid if place in (Place.UP, Place.PAUSED) else 0
    if known and (status.pid, start_ticks(status.pid)) != (known, history.ticks):
        faults.append(f"was started as process {known}, and is {status.pid}")
    if place is Place.DOWN:
        if history.told is not None and status.exit_code != history.told:
            faults.append(f"was told to have ended with {history.told}, and now is with {status.exit_code}")
        program = history.container.program
        if program.ends and not history.hurt and status.exit_code != program.code:
            faults.append(
                f"ended with {program.code}, and is said to have with {status.exit_code}: {status.error}"
            )
    return faults
