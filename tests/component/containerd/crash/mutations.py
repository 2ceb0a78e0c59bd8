"""Known ways to break the daemon. Each is a small change of the real code, and the rounds must find it.

They are what shows that the checker can fail: a checker that never speaks proves nothing. A mutation is made in the
forked daemon, before it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from services.containerd import execs_left
from services.containerd.cgroups.control import Control
from services.containerd.lifecycle import asks, clean_up, recover
from services.containerd.lifecycle.clean_up import CleanUp
from services.containerd.neighbours.images import Images
from services.containerd.neighbours.sandboxes import Sandboxes
from services.containerd.records.store import Store
from services.containerd.runtime.watch import Watcher

Patch = Any  # mock keeps the type of its patchers to itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A fault, and a few seeds in which it shows."""

    patch: Callable[[], Patch]
    seeds: tuple[int, ...] = tuple(range(8))


async def _nothing(*_: object, **__: object) -> None:
    """Do not do it."""


def _leaves_mounts() -> Patch:
    return mock.patch.object(clean_up, "_unmount", return_value=None)


def _leaves_cgroups() -> Patch:
    return mock.patch.object(Control, "remove", _nothing)


def _leaves_processes() -> Patch:
    return mock.patch.multiple(CleanUp, _delete=_nothing)


def _leaves_sandboxes() -> Patch:
    return mock.patch.object(Sandboxes, "remove", _nothing)


def _leaves_layers() -> Patch:
    return mock.patch.object(Images, "remove", _nothing)


def _leaves_directories() -> Patch:
    return mock.patch.object(clean_up, "_remove_tree", return_value=None)


def _leaves_execs() -> Patch:
    return mock.patch.object(execs_left, "clear", return_value=None)


def _does_not_look_after_a_crash() -> Patch:
    return mock.patch.object(recover, "resume", return_value=[])


def _thinks_that_everything_was_lost() -> Patch:
    def lost(machine: Any, _found: Any, now: Any) -> Any:
        return recover.outcomes.conmon_lost(machine, now)

    return mock.patch.object(recover, "_resume_up", lost)


def _leaves_frozen() -> Patch:
    return mock.patch.object(Control, "is_frozen", return_value=False)


def _forgets_stops() -> Patch:
    return mock.patch.object(asks, "send_stop", return_value=[])


def _does_not_write_records() -> Patch:
    return mock.patch.object(Store, "write_status", _nothing)


def _misreads_exit_codes() -> Patch:
    exit_of = Watcher.exit_of

    def off_by_one(self: Any, container_id: str) -> Any:
        told = exit_of(self, container_id)
        if told is None:
            return None
        return type(told)(exit_code=told.exit_code + 1, oom_killed=told.oom_killed, at=told.at)

    return mock.patch.object(Watcher, "exit_of", off_by_one)


MUTATIONS: Mapping[str, Mutation] = {
    mutation.patch.__name__.lstrip("_"): mutation
    for mutation in (
        Mutation(patch=_leaves_mounts),
        Mutation(patch=_leaves_cgroups),
        Mutation(patch=_leaves_processes),
        Mutation(patch=_leaves_sandboxes),
        Mutation(patch=_leaves_layers),
        Mutation(patch=_leaves_directories),
        Mutation(patch=_leaves_execs),
        Mutation(patch=_does_not_look_after_a_crash),
        Mutation(patch=_thinks_that_everything_was_lost),
        Mutation(patch=_leaves_frozen, seeds=(90,)),
        Mutation(patch=_forgets_stops),
        Mutation(patch=_does_not_write_records),
        Mutation(patch=_misreads_exit_codes),
    )
}
