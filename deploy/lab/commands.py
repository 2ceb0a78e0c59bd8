"""The command line of the playground."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.lab import groups, network, processes
from deploy.lab.layout import (
    DAEMONS,
    REPOSITORY,
    RUN_BASE,
    STATE_BASE,
    Node,
    Playground,
    PlaygroundError,
    plan,
    python,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
MNT_DETACH = 2
EPILOG = """\
A node's four daemons run in its own network namespace, with their own roots, sockets and cgroup. A supervisor restarts
a daemon that dies; `kill` and `stop` keep it down until `start`. `client` is the outside: exec client -- curl ...

  deploy/playground up                         three managers and two workers, joined to a swarm
  eval "$(deploy/playground env manager-1)"    aim swarmctl at a node
  deploy/playground kill manager-1 swarmd      kill -9 one daemon
  deploy/playground down                       leave nothing behind
"""


def parser() -> argparse.ArgumentParser:
    """The command tree."""
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", default="demo", help="name of the playground (default: demo)")
    top = argparse.ArgumentParser(
        prog="playground",
        description="Run whole Beeyard nodes side by side on one machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(command: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(command, help=text, description=text, parents=[name])

    up = add("up", "make the nodes, start their daemons, join them to a swarm")
    up.add_argument("--managers", type=int, default=3, help="managers (default: 3)")
    up.add_argument("--workers", type=int, default=2, help="workers (default: 2)")
    up.add_argument("--no-swarm", action="store_true", help="leave every node a single host")
    up.add_argument("--criu", default="", metavar="PATH", help="the CRIU of all nodes, for checkpoints")
    down = add("down", "remove all of it, also after a crash")
    down.add_argument("--all", action="store_true", help="every playground of this machine")
    ls = add("ls", "list the nodes and their daemons")
    ls.add_argument(
        "--format", choices=("table", "json"), default="table", help="how to print (default: table)"
    )
    env = add("env", "print the exports that aim swarmctl at a node")
    env.add_argument("node", metavar="NODE")
    execute = add("exec", "run a command on a node, or outside of all with NODE `client`: exec NODE -- CMD")
    execute.add_argument("node", metavar="NODE")
    for command, text in (
        ("kill", "kill -9 a daemon, or with none named all daemons and containers of the node"),
        ("stop", "stop a daemon in order, or all of the node's daemons"),
        ("start", "start a daemon, or all of the node's daemons, and wait until they serve"),
    ):
        sub = add(command, text)
        sub.add_argument("node", metavar="NODE")
        sub.add_argument("daemon", metavar="DAEMON", nargs="?", choices=DAEMONS)
    for command, text in (("pause", "freeze everything on a node"), ("resume", "let it go on")):
        add(command, text).add_argument("node", metavar="NODE")
    add("partition", "cut these nodes off from the others, not from each other").add_argument(
        "node", metavar="NODE", nargs="+"
    )
    add("heal", "end the partition")
    return top


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    arguments = list(argv)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser().parse_args(arguments[:cut])  # what follows -- is the command's own, --name too
    options.argv = arguments[cut + 1 :]
    if os.geteuid() != 0:
        print("playground: it makes namespaces and mounts: run it as root", file=sys.stderr)
        return 1
    try:
        playground = Playground(name=options.name)
        code = int(_COMMANDS[options.command](playground, options) or 0)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PlaygroundError as exc:
        print(f"playground: {exc}", file=sys.stderr)
        return 1
    return code


# ------------------------------------------------------------------------------------------------ up and down


def up(playground: Playground, options: argparse.Namespace) -> None:
    """Make all, wait until it serves, and join the nodes."""
    nodes = plan(options.managers, options.workers)
    if not options.no_swarm and options.managers < 1:
        raise PlaygroundError("a swarm needs a manager: use --managers 1 or --no-swarm")
    if playground.state.exists() or playground.run.exists():
        raise PlaygroundError(
            f"playground {playground.name!r} exists: remove it with `deploy/playground down --name {playground.name}`"
        )
    _check_environment()
    playground.write_plan(nodes)
    network.create(playground, nodes)
    for node in nodes:
        _lay_out(playground, node, criu=options.criu)
    _ensure_supervisor(playground)
    _wait_ready(playground, [(node, daemon) for node in nodes for daemon in DAEMONS])
    if not options.no_swarm:
        _join(playground, nodes)


def _check_environment() -> None:
    """Say at once that the daemons cannot start here, instead of waiting for them."""
    probe = subprocess.run(
        [*python().split(), "-c", "import grpc, google.protobuf"], capture_output=True, check=False
    )
    if probe.returncode != 0:
        raise PlaygroundError("the environment in .venv is missing or incomplete: run `make setup` first")


def _lay_out(playground: Playground, node: Node, *, criu: str) -> None:
    """Directories, configuration and cgroup of one node."""
    root, run = playground.root_dir(node.name), playground.run_dir(node.name)
    for directory in (root / "etc", root / "log"):
        directory.mkdir(parents=True)
    run.mkdir(parents=True, mode=0o755)
    groups.create(playground.cgroup(node.name))
    own = {
        "imaged": {},
        "netd": {},
        "containerd": {
            "cgroup_parent": f"{playground.cgroup(node.name)}/containers",
            "userns_range": node.user_ids,
            **({"criu_path": criu} if criu else {}),
        },
        "swarmd": {
            "listen": f"{node.address}:2377",
            "enroll_listen": f"{node.address}:2378",
            "advertise": f"{node.address}:2377",
            "hostname": node.name,
        },
    }
    for daemon in DAEMONS:
        settings = {"root": str(root), "run": str(run), **own[daemon]}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        playground.config_file(node.name, daemon).write_text(text)


def _ensure_supervisor(playground: Playground) -> None:
    """Start the supervisor unless it runs."""
    if processes.read(playground.supervisor_pid_file) is not None:
        return
    with (playground.state / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "deploy.lab.supervise", playground.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            start_new_session=True,
        )


def _serves(playground: Playground, node: str, daemon: str) -> bool:
    """Whether the daemon's socket answers: a daemon listens only when it has recovered."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(playground.run_dir(node) / f"{daemon}.sock"))
        except OSError:
            return False
    return processes.read(playground.pid_file(node, daemon)) is not None


def _wait_ready(playground: Playground, wanted: Iterable[tuple[Node, str]]) -> None:
    """Wait until these daemons serve; on a timeout say which do not, with the end of their logs."""
    waiting = list(wanted)
    deadline = time.monotonic() + READY_TIMEOUT_S
    total, terminal = len(waiting), sys.stderr.isatty()
    while waiting:
        waiting = [(node, daemon) for node, daemon in waiting if not _serves(playground, node.name, daemon)]
        if terminal:
            print(f"\rdaemons ready: {total - len(waiting)}/{total} ", end="", file=sys.stderr, flush=True)
        if waiting and time.monotonic() > deadline:
            node, daemon = waiting[0]
            with contextlib.suppress(OSError):
                tail = playground.log_file(node.name, daemon).read_text(errors="replace").splitlines()[-15:]
                print("\n".join(["", *tail]), file=sys.stderr)
            names = ", ".join(f"{node.name}/{daemon}" for node, daemon in waiting)
            raise PlaygroundError(
                f"not ready after {READY_TIMEOUT_S:.0f} s: {names}; logs in {playground.state}"
            )
        if waiting:
            time.sleep(0.05)
    if terminal:
        print(file=sys.stderr)


def _join(playground: Playground, nodes: Sequence[Node]) -> None:
    """Make a swarm of the nodes, as a user would."""
    first = next(node for node in nodes if node.role == "manager")
    _swarmctl(playground, first.name, "swarm", "init", "--advertise-addr", f"{first.address}:2377")
    tokens = {
        role: _swarmctl(playground, first.name, "swarm", "join-token", "--quiet", role).strip()
        for role in ("manager", "worker")
    }
    for node in nodes:
        if node is not first:
            _swarmctl(
                playground,
                node.name,
                *("swarm", "join", "--token", tokens[node.role]),
                *("--advertise-addr", f"{node.address}:2377", f"{first.address}:2377"),
            )


def _swarmctl(playground: Playground, node: str, *arguments: str) -> str:
    """Run swarmctl against one node."""
    environment = {**os.environ, **_exports(playground, node)}
    done = subprocess.run(
        [*python().split(), "-m", "cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PlaygroundError(
            f"{node}: swarmctl {' '.join(arguments[:2])}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def down(playground: Playground, options: argparse.Namespace) -> None:
    """Remove all traces, found by name alone."""
    names = [playground.name]
    if options.all:
        names = sorted(
            {path.name for base in (STATE_BASE, RUN_BASE) if base.is_dir() for path in base.iterdir()}
        )
    for name in names:
        _remove(Playground(name=name))


def _remove(playground: Playground) -> None:
    """Processes first, then mounts, namespaces, cgroups and files: each step finds what an earlier crash left."""
    processes.end(playground.supervisor_pid_file, signal.SIGTERM, 5.0)
    group = playground.cgroup("")[:-1]
    groups.kill(group)
    _unmount_below([playground.run, playground.state])
    network.remove(playground)
    groups.remove(group)
    groups.remove_empty_parents(group)
    for path in (playground.run, playground.state):
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            raise PlaygroundError(f"{path} could not be removed: is something mounted there?")
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _unmount_below(tops: Sequence[Path]) -> None:
    """Unmount everything at or below these paths, deepest first."""
    libc = ctypes.CDLL(None, use_errno=True)
    while True:
        points = [
            line.split()[4].encode().decode("unicode_escape")
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ]
        below = [point for point in points if any(Path(point).is_relative_to(top) for top in tops)]
        if not below:
            return
        for point in sorted(below, key=len, reverse=True):
            if libc.umount2(point.encode(), MNT_DETACH) != 0:
                raise PlaygroundError(f"umount {point}: {os.strerror(ctypes.get_errno())}")


# ------------------------------------------------------------------------------------------------ looking


def _describe(playground: Playground, node: Node, isolated: set[str]) -> dict[str, object]:
    """One row of `ls`."""
    daemons = {daemon: processes.read(playground.pid_file(node.name, daemon)) for daemon in DAEMONS}
    state = "paused" if groups.is_frozen(playground.cgroup(node.name)) else "up"
    if not any(daemons.values()):
        state = "down"
    elif not all(daemons.values()):
        state = "degraded"
    return {
        "name": node.name,
        "role": node.role,
        "address": node.address,
        "state": state,
        "partitioned": network.port(node) in isolated,
        "daemons": daemons,
        "host": f"unix://{playground.run_dir(node.name)}",
        "netns": playground.namespace(node.name),
        "root": str(playground.root_dir(node.name)),
        "run": str(playground.run_dir(node.name)),
        "cgroup": playground.cgroup(node.name),
        "logs": str(playground.root_dir(node.name) / "log"),
    }


def ls(playground: Playground, options: argparse.Namespace) -> None:
    """List the nodes."""
    nodes = playground.nodes()
    isolated = network.isolated_ports(playground)
    rows = [_describe(playground, node, isolated) for node in nodes]
    if options.format == "json":
        print(json.dumps(rows, indent=2))
        return
    table = [("NODE", "ROLE", "ADDRESS", "STATE", *(daemon.upper() for daemon in DAEMONS))]
    for row in rows:
        daemons = row["daemons"]
        assert isinstance(daemons, dict)
        state = f"{row['state']}{', partitioned' if row['partitioned'] else ''}"
        pids = (str(daemons[daemon] or "-") for daemon in DAEMONS)
        table.append((str(row["name"]), str(row["role"]), str(row["address"]), state, *pids))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _programs(playground: Playground) -> Path:
    """A directory with swarmctl alone: our containerd would hide another engine's of that name."""
    directory = playground.state / "bin"
    directory.mkdir(exist_ok=True)
    link = directory / "swarmctl"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(REPOSITORY / ".venv" / "bin" / "swarmctl")
    return directory


def _exports(playground: Playground, node: str) -> dict[str, str]:
    """Environment that aims swarmctl at a node."""
    return {
        "BEEYARD_HOST": f"unix://{playground.run_dir(node)}",
        "PATH": f"{_programs(playground)}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos'}",
    }


def env(playground: Playground, options: argparse.Namespace) -> None:
    """Print the exports."""
    exports = _exports(playground, playground.node(options.node).name)
    print(f"export BEEYARD_HOST={shlex.quote(exports['BEEYARD_HOST'])}")
    print(f'export PATH={shlex.quote(str(_programs(playground)))}:"$PATH"')


def execute(playground: Playground, options: argparse.Namespace) -> None:
    """Become a command on a node. Does not return."""
    argv = options.argv
    if not argv:
        raise PlaygroundError("exec: name a command after --")
    if options.node != "client":
        playground.node(options.node)
        os.environ.update(_exports(playground, options.node))
    os.execvp(  # noqa: S606 (an argument vector, no shell)
        "nsenter", ["nsenter", f"--net={playground.namespace_path(options.node)}", "--", *argv]
    )


# ---------------------------------------------------------------------------------------- daemons up and down


def _chosen(options: argparse.Namespace) -> tuple[str, ...]:
    return (options.daemon,) if options.daemon else DAEMONS


def kill(playground: Playground, options: argparse.Namespace) -> None:
    """Kill without warning."""
    node = playground.node(options.node)
    for daemon in _chosen(options):
        playground.held_file(node.name, daemon).touch()
    if options.daemon is None:
        groups.kill(playground.cgroup(node.name))
        return
    if not processes.end(playground.pid_file(node.name, options.daemon), signal.SIGKILL, STOP_TIMEOUT_S):
        raise PlaygroundError(f"{node.name}: {options.daemon} does not die")


def stop(playground: Playground, options: argparse.Namespace) -> None:
    """Stop in order: the reverse of the order in which the daemons call each other."""
    node = playground.node(options.node)
    for daemon in reversed(_chosen(options)):
        playground.held_file(node.name, daemon).touch()
        if not processes.end(playground.pid_file(node.name, daemon), signal.SIGTERM, STOP_TIMEOUT_S):
            raise PlaygroundError(f"{node.name}: {daemon} did not stop within {STOP_TIMEOUT_S:.0f} s")


def start(playground: Playground, options: argparse.Namespace) -> None:
    """Let the supervisor start them, and wait."""
    node = playground.node(options.node)
    for daemon in _chosen(options):
        playground.held_file(node.name, daemon).unlink(missing_ok=True)
    _ensure_supervisor(playground)
    _wait_ready(playground, [(node, daemon) for daemon in _chosen(options)])


def pause(playground: Playground, options: argparse.Namespace) -> None:
    """Freeze a node."""
    groups.freeze(playground.cgroup(playground.node(options.node).name), frozen=True)


def resume(playground: Playground, options: argparse.Namespace) -> None:
    """Thaw a node."""
    groups.freeze(playground.cgroup(playground.node(options.node).name), frozen=False)


def partition(playground: Playground, options: argparse.Namespace) -> None:
    """Cut nodes off."""
    network.partition(playground, [playground.node(name) for name in options.node])


def heal(playground: Playground, options: argparse.Namespace) -> None:
    """Join all again."""
    del options
    network.partition(playground, [])


_COMMANDS = {
    "up": up,
    "down": down,
    "ls": ls,
    "env": env,
    "exec": execute,
    "kill": kill,
    "stop": stop,
    "start": start,
    "pause": pause,
    "resume": resume,
    "partition": partition,
    "heal": heal,
}
