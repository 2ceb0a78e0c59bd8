"""What happens in one round, from its seed alone. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from beeyard.container.v1 import spec_pb2
from services.containerd.lifecycle import faults

POINTS = (
    *(*faults.POINTS, *faults.EXEC_POINTS, *faults.HEALTH_POINTS),
    *(*faults.COMMIT_POINTS, *faults.COPY_POINTS),
)
RUNTIMES = ("crun", "runc")
THINK_MS_MAX = 60
KILL_MS_MAX = 700
RECOVERY_KILL_MS_MAX = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container runs."""

    argv: tuple[str, ...]
    ends: bool = False
    """By itself, soon."""
    code: int = 0
    """With which it ends by itself."""
    starts: bool = True
    output: tuple[str, ...] = ()
    """What it writes before it ends, in any order."""


PROGRAMS = {
    "sleeper": Program(argv=("sleep", "1000")),
    "listener": Program(argv=("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.02; done")),
    "family": Program(argv=("sh", "-c", "sleep 1000 & (sleep 1000 &) ; unshare -m sleep 1000 & sleep 1000")),
    "reader": Program(argv=("cat",)),
    "brief": Program(
        argv=("sh", "-c", "echo one; echo two >&2; exit 5"), ends=True, code=5, output=("one", "two")
    ),
    "good": Program(argv=("true",), ends=True),
    "talker": Program(
        argv=("sh", "-c", "for n in 1 2 3 4 5; do echo $n; sleep 0.03; done; exit 3"),
        ends=True,
        code=3,
        output=("1", "2", "3", "4", "5"),
    ),
    "missing": Program(argv=("/no/such/program",), starts=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One call, after a pause."""

    kind: str
    think_ms: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container and what is done with it, one call after the other."""

    name: str
    program: Program
    restart: int = spec_pb2.RESTART_CONDITION_NO
    auto_remove: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    """Of the specification, beside those above."""
    fails_checks: bool = False
    """A check of its health ends its run."""
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How the daemon dies: at a fault point, or so long after its start; whichever comes first."""

    fault: str = ""
    after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Downtime:
    """What happens while no daemon runs."""

    wait_ms: int = 0
    kill_init: bool = False
    kill_conmon: bool = False
    victim: int = 0

    @property
    def harmful(self) -> bool:
        """Whether a container is hurt."""
        return self.kill_init or self.kill_conmon


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A round."""

    seed: int
    containers: tuple[Container, ...]
    deaths: tuple[Death, ...]
    downtimes: tuple[Downtime, ...]
    """One after each death."""


_NEEDED = {
    "stop": ("start", "stop"),
    "exit": ("start", "stop"),
    "remove": ("remove",),
    "exec": ("start", "exec"),
    "health": ("start", "check", "check"),
    "commit": ("start", "commit", "commit"),
    "cp": ("start", "copy_out", "copy_in", "copy_out", "copy_in"),
}
"""The calls without which a fault point is not reached, by its first word."""


IDS_EVERY = 7
"""In one round of so many the containers have user namespaces. Prime, so that every point gets its turn."""


def plan(seed: int) -> Plan:
    """Return the round of a seed. Two of three die at a fault point; the points take turns, with each runtime."""
    rng = random.Random(seed)
    turn, kind = divmod(seed, 3)
    lap, place = divmod(turn * 2 + kind, len(POINTS))
    point = POINTS[place] if kind < 2 else ""
    containers = [_container(rng, number, seed) for number in range(rng.choice((1, 2, 2, 3)))]
    if point:
        runtime = RUNTIMES[lap % len(RUNTIMES)]
        containers = [
            replace(container, fields={**container.fields, "runtime": runtime}) for container in containers
        ]
        needed = _NEEDED.get(point.partition(".")[0], ("start",))
        containers[0] = _with(containers[0], needed)
        if needed[-1] == "check":
            containers[0] = _checked(rng, containers[0], fails=point == "health.stop_recorded")
        times = rng.choice((1, 1, 1, 2))
        if point == "health.stop_recorded":
            times = 1  # who has been stopped for its health is not checked again
        first = Death(fault=f"{point}:{times}")
    else:
        first = Death(after_ms=rng.randrange(KILL_MS_MAX))
    deaths = [first]
    while rng.random() < 0.3 and len(deaths) < 3:
        again = rng.choice(POINTS) if rng.random() < 0.5 else ""
        deaths.append(Death(fault=again, after_ms=rng.randrange(RECOVERY_KILL_MS_MAX)))
    downtimes = tuple(_downtime(rng) for _ in deaths)
    return Plan(seed=seed, containers=tuple(containers), deaths=tuple(deaths), downtimes=downtimes)


def _container(rng: random.Random, number: int, seed: int) -> Container:
    program = PROGRAMS[rng.choice(("sleeper", "sleeper", *PROGRAMS))]
    fields: dict[str, Any] = {"runtime": rng.choice((RUNTIMES[0], *RUNTIMES))}
    if rng.random() < 0.25 or program is PROGRAMS["reader"]:
        fields["open_stdin"] = True
        fields["stdin_once"] = rng.random() < 0.5
    if rng.random() < 0.25:
        fields["tty"] = True
    if rng.random() < 0.2:
        fields["init"] = True
    if rng.random() < 0.15:
        fields["network"] = "host"
    elif number and rng.random() < 0.2:
        fields["network"] = f"container:c{seed}-0"
    if rng.random() < 0.1:
        fields["security"] = spec_pb2.Security(pid="host")
    if seed % IDS_EVERY == 0:
        fields = _with_ids(fields, number)
    restart, auto_remove = spec_pb2.RESTART_CONDITION_NO, False
    lot = rng.random()
    if lot < 0.2:
        auto_remove = True
    elif lot < 0.4:
        restart = rng.choice(
            (
                spec_pb2.RESTART_CONDITION_ALWAYS,
                spec_pb2.RESTART_CONDITION_UNLESS_STOPPED,
                spec_pb2.RESTART_CONDITION_ON_FAILURE,
            )
        )
    return Container(
        name=f"c{seed}-{number}",
        program=program,
        restart=restart,
        auto_remove=auto_remove,
        fields=fields,
        ops=_ops(rng),
    )


def _with_ids(fields: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the fields of a container with a user namespace: its own, or that of the container it joins."""
    kept = {key: value for key, value in fields.items() if key != "security" and value != "host"}
    if "network" in kept:
        return kept
    return {**kept, "security": spec_pb2.Security(userns="remap" if number == 1 else "auto")}


_LATER = (
    "stop", "stop", "kill", "terminate", "restart", "pause", "unpause", "remove", "remove", "exec", "exec",
    "exec_detached", "exec_missing", "attach", "start", "wait", "rename", "update", "logs", "commit",
    "copy_out", "copy_in",
)  # fmt: skip


def _ops(rng: random.Random) -> tuple[Op, ...]:
    kinds = ["start"] if rng.random() < 0.93 else []
    kinds += [rng.choice(_LATER) for _ in range(rng.randrange(6))]
    return tuple(
        Op(kind=kind, think_ms=int(rng.random() ** 2 * THINK_MS_MAX), value=rng.randrange(1 << 16))
        for kind in kinds
    )


def _with(container: Container, needed: tuple[str, ...]) -> Container:
    """Return a container whose calls begin with these, and whose program lives long enough for them."""
    program = container.program
    if not program.starts or (program.ends and needed != ("remove",)):
        program = PROGRAMS["listener"]
    ops = (*(Op(kind=kind, think_ms=5, value=1) for kind in needed), *container.ops)
    if needed[0] != "start":
        ops = (container.ops[0], *ops) if container.ops else ops
    return replace(container, program=program, ops=ops)


def _checked(rng: random.Random, container: Container, *, fails: bool) -> Container:
    """Return a container with a health check, which runs when it is asked for."""
    health = spec_pb2.HealthCheck(
        test=("CMD", "false") if fails else ("CMD", "true"),
        interval_ms=600_000,
        retries=1,
        on_failure=rng.choice((spec_pb2.HEALTH_ACTION_KILL, spec_pb2.HEALTH_ACTION_STOP)),
    )
    return replace(container, fields={**container.fields, "health": health}, fails_checks=fails)


def _downtime(rng: random.Random) -> Downtime:
    lot = rng.random()
    return Downtime(
        wait_ms=rng.choice((0, 0, 20, 150)),
        kill_init=0.1 <= lot < 0.2,
        kill_conmon=0.2 <= lot < 0.3,
        victim=rng.randrange(3),
    )
