"""Containers that go from node to node of a playground, and moves that fail or are broken off on the way."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from deploy.lab.layout import STATE_BASE
from tests import criu
from tests.system.swarm.lab import ROOT, Lab, lab, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

MANAGER, ONE, TWO = "manager-1", "worker-1", "worker-2"


@pytest.fixture(scope="module")
def trio() -> Iterator[Lab]:
    """A manager and two workers, with CRIU if there is one that works."""
    path, reason = criu.look()
    yield from lab("move", "--managers", "1", "--workers", "2", *([] if reason else ["--criu", path]))


@pytest.fixture
def clean(trio: Lab) -> Iterator[Lab]:
    """Whatever a test leaves is removed."""
    yield trio
    for node in (MANAGER, ONE, TWO):
        if names := trio.ctl(node, "ps", "-aq").split():
            trio.ctl(node, "rm", "-f", *names)
        trio.ctl(node, "image", "prune", "-f")


def names(trio: Lab, node: str) -> list[str]:
    return trio.ctl(node, "ps", "-a", "--format", "{{.Names}}").split()


def images(trio: Lab, node: str) -> list[str]:
    return trio.ctl(node, "images", "-a", "--format", "{{.Repository}}:{{.Tag}}").split()


def detail(trio: Lab, node: str, name: str) -> dict[str, Any]:
    return trio.inspect(node, "inspect", "--type", "container", name)


def test_a_container_moves_with_what_it_is_and_has_written(clean: Lab) -> None:
    trio = clean
    options = ["--label", "a=b", "-e", "X=1", "-m", "64m", "--restart", "unless-stopped", "-p", "8080:80"]
    first = trio.ctl(MANAGER, "run", "-d", "--name", "web", *options, "web:1").strip()
    trio.ctl(MANAGER, "exec", "web", "sh", "-c", "echo written > /tmp/f; busybox rm /bin/tail")
    before = detail(trio, MANAGER, "web")
    moved = trio.ctl(MANAGER, "container", "move", "web", "--to", ONE, "-t", "0").strip()
    assert moved != first
    assert names(trio, MANAGER) == []
    assert images(trio, MANAGER) == ["web:1"], "nothing is left of the move"
    back = trio.ctl(MANAGER, "--node", ONE, "container", "move", "web", "--to", TWO, "-t", "0").strip()
    assert names(trio, ONE) == []
    assert images(trio, ONE) == []
    after = detail(trio, TWO, "web")
    assert after["Id"] == back
    assert after["State"]["Status"] == "running"
    for section, keys in {
        "Config": ("Image", "Env", "Cmd", "Labels", "StopSignal"),
        "HostConfig": ("Memory", "RestartPolicy", "PortBindings"),
    }.items():
        for key in keys:
            assert after[section][key] == before[section][key], key
    assert after["Image"] != before["Image"], "it stands on an image of what it has written"
    look = trio.ctl(TWO, "exec", "web", "sh", "-c", "cat /tmp/f; ls /bin/tail; true")
    assert look.split() == ["written"]
    trio.ctl(MANAGER, "--node", TWO, "stop", "web")
    trio.ctl(MANAGER, "--node", TWO, "container", "move", "web", "--to", ONE)
    assert detail(trio, ONE, "web")["State"]["Status"] == "created", "what did not run is not started"


def test_volumes_go_along_when_asked_for(clean: Lab) -> None:
    trio = clean
    options = ["--userns", "auto", "-v", "data:/data", "-v", "/nameless"]
    trio.ctl(ONE, "run", "-d", "--name", "vol", *options, "web:1")
    write = "echo one > /data/f; echo two > /nameless/f; echo three > /tmp/f"
    trio.ctl(ONE, "exec", "vol", "sh", "-c", f"{write}; busybox chown 7:8 /data/f /nameless/f /tmp/f")
    before = trio.ctl(ONE, "exec", "vol", "cat", "/proc/self/uid_map").split()
    trio.ctl(MANAGER, *("--node", ONE, "container", "move", "vol", "--to", TWO, "--volumes", "-t", "0", "-q"))
    look = "cat /data/f /nameless/f /tmp/f; busybox stat -c %u:%g /data/f /nameless/f /tmp/f /tmp"
    seen = ["one", "two", "three", "7:8", "7:8", "7:8", "0:0"]
    assert trio.ctl(TWO, "exec", "vol", "sh", "-c", look).split() == seen
    after = trio.ctl(TWO, "exec", "vol", "cat", "/proc/self/uid_map").split()
    assert (before[0], before[2]) == (after[0], after[2]) == ("0", "65536")
    assert before[1] != after[1], "each node gives ids of its own"
    assert trio.ctl(ONE, "volume", "ls", "-q") == ""
    kept = set(trio.ctl(TWO, "volume", "ls", "-q").split())
    assert len(kept) == 2
    told = trio.try_ctl(MANAGER, "--node", TWO, "container", "move", "vol", "--to", ONE, "-t", "0", "-q")
    assert "its volumes stay behind" in told.err
    assert set(trio.ctl(TWO, "volume", "ls", "-q").split()) == kept, "what is not moved is not lost"
    trio.ctl(ONE, "rm", "-f", "-v", "vol")
    for node in (ONE, TWO):
        trio.ctl(node, "volume", "prune", "-f", "-a")


def test_the_state_of_processes_goes_along(clean: Lab) -> None:
    """There, and not back, because the disk is full there: then it goes on as it was."""
    criu.works()
    trio = clean
    count = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done"
    options = ["--runtime", criu.RUNC, "-v", "data:/data", "--tmpfs", "/t", "-m", "64m"]
    write = "echo one > /data/f; echo two > /t/f; exec 4>/tmp/open"
    trio.ctl(ONE, "run", "-d", "--name", "mind", *options, "web:1", "sh", "-c", f"{write}; {count}")
    wait_until("it counts", lambda: counted(trio, ONE)[-1:] > [5])
    move = ["--checkpoint", "--volumes", "--to"]
    trio.ctl(MANAGER, "--node", ONE, "container", "move", "mind", *move, TWO)
    assert names(trio, ONE) == []
    wait_until("it goes on", lambda: counted(trio, TWO))
    assert counted(trio, TWO)[0] > 5
    assert trio.ctl(TWO, "exec", "mind", "cat", "/data/f", "/t/f").split() == ["one", "two"]
    kept = images(trio, ONE)
    with full_disk(trio, ONE):
        told = trio.try_ctl(MANAGER, "--node", TWO, "container", "move", "mind", *move, ONE)
    assert "was not moved: send checkpoint: no space is left on the disk" in told.err
    assert (names(trio, ONE), images(trio, ONE)) == ([], kept), "the other node has nothing of it"
    before = counted(trio, TWO)
    wait_until("it goes on", lambda: len(counted(trio, TWO)) > len(before))
    found = counted(trio, TWO)
    assert found == list(range(found[0], found[-1] + 1)), "nothing is counted twice, nothing is left out"
    trio.ctl(TWO, "rm", "-f", "mind")
    for node in (ONE, TWO):
        trio.ctl(node, "volume", "prune", "-f", "-a")


@contextlib.contextmanager
def full_disk(trio: Lab, node: str) -> Iterator[None]:
    """A node that has room for no checkpoint."""
    place = str(STATE_BASE / trio.name / node / "containerd" / "containers")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def counted(trio: Lab, node: str) -> list[int]:
    return [int(line) for line in trio.ctl(node, "logs", "mind").split()]


def test_what_cannot_be_moved_is_refused_and_left_alone(clean: Lab) -> None:
    trio = clean

    def refused(*arguments: str, says: str) -> None:
        result = trio.try_ctl(MANAGER, "container", "move", *arguments)
        assert result.code == 1, result
        assert says in result.err, result.err

    trio.ctl(MANAGER, "run", "-d", "--name", "web", "-p", "8080:80", "web:1")
    refused("web", "--to", "nowhere", says="not in this swarm")
    refused("web", "--to", MANAGER, says="already")
    refused("ghost", "--to", ONE, says="no such container")
    trio.ctl(ONE, "create", "--name", "web", "web:1")
    refused("web", "--to", ONE, says="the name web is in use")
    trio.ctl(ONE, "rm", "web")
    trio.ctl(ONE, "run", "-d", "--name", "other", "-p", "8080:80", "web:1")
    refused("web", "--to", ONE, says="port 8080 is in use by container other")
    trio.ctl(MANAGER, "run", "-d", "--name", "guest", "--network", "container:web", "web:1")
    refused("guest", "--to", ONE, says="namespace of container")
    trio.ctl(MANAGER, "pause", "web")
    refused("web", "--to", TWO, says="paused")
    trio.ctl(MANAGER, "unpause", "web")
    refused("web", "--to", TWO, "--checkpoint", says="a move with a checkpoint is not possible")  # with crun
    assert sorted(names(trio, MANAGER)) == ["guest", "web"]
    assert detail(trio, MANAGER, "web")["State"]["Status"] == "running"
    assert names(trio, TWO) == []
    result = trio.try_ctl(ONE, "container", "move", "other", "--to", TWO)
    assert "not a swarm manager" in result.err


def test_a_container_of_a_service_is_the_swarms_to_place(clean: Lab) -> None:
    trio = clean
    trio.ctl(MANAGER, "service", "create", "--detach", "--name", "svc", "web:1")
    (task,) = trio.wait_running(MANAGER, "svc", 1)
    container = trio.ctl(task["Node"], "ps", "-q").strip()
    target = ONE if task["Node"] != ONE else TWO
    result = trio.try_ctl(MANAGER, "--node", task["Node"], "container", "move", container, "--to", target)
    assert "task of a service" in result.err, result
    trio.ctl(MANAGER, "service", "rm", "svc")
    wait_until("its container is gone", lambda: not names(trio, task["Node"]))


@contextlib.contextmanager
def stopping(trio: Lab, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A move that has come to its stop, which takes some seconds: the container does not heed SIGTERM."""
    trio.ctl(ONE, "run", "-d", "--name", "slow", "--stop-signal", "TERM", "web:1", "sleep", "1000")
    argv = [str(ROOT / ".venv" / "bin" / "swarmctl"), "--node", ONE, "container", "move", "slow"]
    move = subprocess.Popen(
        [*argv, "--to", TWO, "-t", "1", *arguments],
        env=trio.env(MANAGER),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert move.stderr is not None
        for line in move.stderr:
            if line.strip() == "stop":
                break
        yield move
    finally:
        move.kill()
        move.communicate()


def as_it_was(trio: Lab) -> None:
    """The container runs where it was, is nobody's, and its other node has nothing of it."""

    def restored() -> bool:
        state = trio.ctl(ONE, "ps", "-a", "--format", "{{.Names}} {{.State}}").strip()
        return state == "slow running" and not names(trio, TWO) and not images(trio, TWO)

    wait_until("everything is as it was", restored)
    assert images(trio, ONE) == ["web:1"]
    wait_until("it is let go of", lambda: trio.try_ctl(ONE, "rm", "-f", "slow").code == 0)


@pytest.mark.parametrize("killed", [(MANAGER, "swarmd"), (ONE, "containerd")])
def test_a_daemon_that_dies_in_a_move_leaves_the_container_where_it_was(
    clean: Lab, killed: tuple[str, str]
) -> None:
    with stopping(clean):
        old = clean.crash(*killed)
        clean.wait_back(*killed, old)
        as_it_was(clean)


def test_a_target_that_dies_gets_nothing_when_it_is_back(clean: Lab) -> None:
    with stopping(clean) as move:
        clean.command("kill", TWO)
        _, told = move.communicate(timeout=90)
        assert move.returncode == 1
        assert "was not moved" in told, told
        assert clean.ctl(ONE, "ps", "--format", "{{.Names}}").split() == ["slow"]
        clean.command("start", TWO)
        as_it_was(clean)


def test_a_target_that_freezes_does_not_hold_the_container_up(clean: Lab) -> None:
    with stopping(clean) as move:
        clean.command("pause", TWO)
        try:
            _, told = move.communicate(timeout=40)
            assert f"node {TWO} is down" in told, told
            assert clean.ctl(ONE, "ps", "--format", "{{.Names}}").split() == ["slow"]
        finally:
            clean.command("resume", TWO)
        as_it_was(clean)


def test_a_start_that_fails_is_taken_back(clean: Lab) -> None:
    """The port is in use by something that is no container: only the start finds out."""
    clean.ctl(ONE, "run", "-d", "--name", "slow", "-p", "8099:80", "-v", "data:/data", "web:1")
    clean.ctl(TWO, "volume", "create", "other")
    playground = [str(ROOT / "deploy" / "playground"), "exec", "--name", clean.name, TWO, "--"]
    with subprocess.Popen(
        [*playground, "/bin/busybox", "nc", "-l", "-p", "8099"], stdin=subprocess.PIPE
    ) as listener:
        try:
            wait_until(
                "the port is taken",
                lambda: ":8099 " in clean.command("exec", TWO, "--", "/bin/busybox", "netstat", "-lnt"),
            )
            result = clean.try_ctl(
                MANAGER, "--node", ONE, "container", "move", "slow", "--to", TWO, "-t", "0", "--volumes"
            )
        finally:
            listener.kill()
    assert result.code == 1
    assert "start: " in result.err, result.err
    assert "8099" in result.err, result.err
    as_it_was(clean)
    assert clean.ctl(TWO, "volume", "ls", "-q").split() == ["other"], "its own volumes, and nobody else's"
    for node in (ONE, TWO):
        clean.ctl(node, "volume", "prune", "-f", "-a")


def test_a_caller_who_leaves_takes_the_move_back(clean: Lab) -> None:
    with stopping(clean) as move:
        second = clean.try_ctl(MANAGER, "--node", ONE, "container", "move", "slow", "--to", MANAGER)
        assert "is being moved already" in second.err, "one move at a time"
        assert "held" in clean.try_ctl(ONE, "rm", "-f", "slow").err
        move.send_signal(signal.SIGINT)
        assert move.wait(timeout=60) == 130
        as_it_was(clean)


def test_a_detached_move_goes_on(clean: Lab) -> None:
    clean.ctl(ONE, "run", "-d", "--name", "web", "web:1")
    clean.ctl(MANAGER, "--node", ONE, "container", "move", "web", "--to", TWO, "--detach")
    wait_until("it has arrived", lambda: names(clean, TWO) == ["web"] and not names(clean, ONE))
