"""One round: users at work, a daemon that dies, perhaps again while it recovers, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from beeyard.container.v1 import container_pb2 as pb
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.crash import checker
from tests.component.containerd.crash.history import History
from tests.component.containerd.crash.players import Player
from tests.component.containerd.crash.script import Death, Downtime, Plan
from tests.component.containerd.crash.world import World

SETTLE_S_MAX = 20.0
LAST_WORDS_S = 0.1
"""How long a daemon has to get to its fault point after the last call."""


@dataclass(slots=True)
class Report:
    """How a round went."""

    seed: int
    faults: list[str] = field(default_factory=list)
    died_at: list[str] = field(default_factory=list)
    """The fault points that were reached."""
    calls: int = 0


async def play(world: World, plan: Plan, mutation: str = "", settle_s: float = SETTLE_S_MAX) -> Report:
    """Play one round; the world is empty before it, and after it if nothing went wrong."""
    report = Report(seed=plan.seed)
    log_begins = world.log.stat().st_size if world.log.exists() else 0
    histories = [History(container=container) for container in plan.containers]
    try:
        await _first_life(world, plan, histories, report, mutation)
        for death, downtime in zip(plan.deaths[1:], plan.downtimes, strict=False):
            await _downtime(world, downtime, histories)
            await _die_recovering(world, death, report, mutation)
        await _downtime(world, plan.downtimes[-1], histories)
        await world.start_daemon(mutation=mutation)
        if await _settled(world, histories, report, settle_s):
            await _use(world, report)
            await _remove_all(world, report, settle_s)
            await _live_once_more(world, plan.containers[0].name, report, settle_s)
    except (errors.BeeyardError, AssertionError, TimeoutError) as exc:
        report.faults.append(f"the round broke: {type(exc).__name__}: {exc}")
    if world.daemon is not None and (code := world.daemon.poll()) is not None:
        report.faults.append(f"the daemon has ended by itself, with {code}")
    await _kill(world)
    if report.faults:
        with world.log.open("rb") as log:
            log.seek(log_begins)
            report.faults.append("log:\n" + log.read()[-6000:].decode(errors="replace"))
    return report


async def _first_life(
    world: World, plan: Plan, histories: list[History], report: Report, mutation: str
) -> None:
    death = plan.deaths[0]
    await world.start_daemon(fault=death.fault, mutation=mutation)
    players = [Player(world.stub, history, world.mark) for history in histories]
    async with asyncio.TaskGroup() as group:
        for player in players:
            group.create_task(player.play())
        if death.after_ms is not None:
            await asyncio.sleep(death.after_ms / 1000)
            await _kill(world)
    report.faults += [fault for player in players for fault in player.faults]
    report.calls += sum(len(container.ops) for container in plan.containers)
    await _end(world, death, LAST_WORDS_S, report)


async def _die_recovering(world: World, death: Death, report: Report, mutation: str) -> None:
    """Let another daemon start, and die in the middle of its recovery or after it."""
    starting = asyncio.create_task(world.start_daemon(fault=death.fault, mutation=mutation))
    if death.after_ms is not None:
        await asyncio.wait([starting], timeout=death.after_ms / 1000)
    await _end(world, death, 0, report)
    await starting


async def _end(world: World, death: Death, wait_s: float, report: Report) -> None:
    """See that the daemon is dead, and that it has died of what was meant to kill it."""
    assert world.daemon is not None
    if death.fault:
        with contextlib.suppress(TimeoutError):
            await _until(lambda: _is_dead(world), wait_s)
    code = world.daemon.poll()
    if code is None:
        await _kill(world)
    elif code == -signal.SIGKILL and death.fault:
        report.died_at.append(death.fault.partition(":")[0])
    elif code != -signal.SIGKILL:
        report.faults.append(f"the daemon has ended by itself, with {code}")


async def _is_dead(world: World) -> bool:
    return world.daemon is not None and world.daemon.poll() is not None


async def _kill(world: World) -> None:
    if world.daemon is not None:
        world.daemon.kill()
        await world.daemon_gone()


async def _downtime(world: World, downtime: Downtime, histories: list[History]) -> None:
    """Let time pass without a daemon, in which containers may end, or be hurt."""
    await asyncio.sleep(downtime.wait_ms / 1000)
    if not downtime.harmful:
        return
    seen = await world.look()
    running = sorted(key for key, parts in seen.parts.items() if parts.init)
    if not running:
        return
    parts = seen.parts[running[downtime.victim % len(running)]]
    for history in histories:
        history.harmed()
    for pid in [parts.init] if downtime.kill_init else parts.conmons:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _settled(world: World, histories: list[History], report: Report, settle_s: float) -> bool:
    """Wait until nothing is wrong any more, or report what stays so."""
    faults: list[str] = []

    async def sound() -> bool:
        found = await world.list()
        seen = await world.look()
        if [(entry.id, entry.status.state) for entry in await world.list()] != [
            (entry.id, entry.status.state) for entry in found
        ]:
            faults[:] = ["does not come to rest"]
            return False
        faults[:] = checker.machine_faults(found, seen) + checker.promises_broken(histories, found)
        return not faults

    with contextlib.suppress(TimeoutError):
        await _until(sound, settle_s)
        return True
    report.faults += faults
    return False


async def _use(world: World, report: Report) -> None:
    """What runs must really run: each running container executes something more, each paused one is thawed first."""
    for entry in await world.list():
        if entry.status.state == pb.CONTAINER_STATE_PAUSED:
            await client.call(world.stub.UnpauseContainer(pb.UnpauseContainerRequest(container=entry.id)))
        elif entry.status.state != pb.CONTAINER_STATE_RUNNING:
            continue
        try:
            spec = pb.ExecSpec(container=entry.id, argv=["sh", "-c", "exit 9"])
            code = 0

            async def one(spec: pb.ExecSpec = spec):
                yield pb.ExecRequest(spec=spec)

            async for response in client.stream(world.stub.Exec(one())):
                code = response.exit.exit_code
        except errors.FailedPrecondition:
            continue  # it has just ended
        if code != 9 and (await world.get(entry.id)).status.state == pb.CONTAINER_STATE_RUNNING:
            report.faults.append(f"{entry.name}: an exec in it ended with {code}")


async def _remove_all(world: World, report: Report, settle_s: float) -> None:
    for entry in await world.list():
        with contextlib.suppress(errors.NotFound):
            await world.remove(entry.id)
    faults: list[str] = []

    async def empty() -> bool:
        faults[:] = checker.machine_faults([], await world.look())
        return not faults

    try:
        await _until(empty, settle_s)
    except TimeoutError:
        report.faults += faults


async def _live_once_more(world: World, name: str, report: Report, settle_s: float) -> None:
    """The name must be free again, and a whole life must work."""
    _, ended = await world.run_to_end("sh", "-c", "exit 6", name=name)
    if ended.exit_code != 6:
        report.faults.append(f"{name}: its next life ended with {ended.exit_code}: {ended.error}")
    await _remove_all(world, report, settle_s)


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Return when it holds.

    Raises:
        TimeoutError: It did not, in time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while not await holds():
        if asyncio.get_running_loop().time() >= deadline:
            raise TimeoutError
        await asyncio.sleep(0.01)
