"""Names and paths of a playground, and its plan: which nodes it has and how they are addressed."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

DAEMONS = ("imaged", "netd", "containerd", "swarmd")
LAN_PREFIX = "10.77.0"
LAN_LENGTH = 24
CLIENT_HOST = 254
NODES_MAX = 100
IDS_PER_NODE = 1 << 24

STATE_BASE = Path(os.environ.get("BEEYARD_PLAYGROUND_STATE", "/var/lib/beeyard-playground"))
RUN_BASE = Path(os.environ.get("BEEYARD_PLAYGROUND_RUN", "/run/beeyard-playground"))
REPOSITORY = Path(__file__).resolve().parent.parent.parent


class PlaygroundError(Exception):
    """Something a person can act on; the message says what and on which node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the plan."""

    name: str
    role: str
    """manager or worker: how it joins the swarm at `up`."""
    index: int
    """From 1; also the last byte of its address."""

    @property
    def address(self) -> str:
        """Address on the LAN, without prefix length."""
        return f"{LAN_PREFIX}.{self.index}"

    @property
    def user_ids(self) -> str:
        """Range of ids for its containers with user namespaces: one of its own, as if it were a machine."""
        return f"{self.index * IDS_PER_NODE}-{(self.index + 1) * IDS_PER_NODE - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Playground:
    """A playground by name. All paths and kernel names follow from it."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", self.name):
            raise PlaygroundError(
                f"playground name {self.name!r}: use 1 to 16 of a-z and 0-9, beginning with a letter"
            )

    @property
    def state(self) -> Path:
        """Durable state of all nodes."""
        return STATE_BASE / self.name

    @property
    def run(self) -> Path:
        """Sockets and runtime files of all nodes."""
        return RUN_BASE / self.name

    @property
    def plan_file(self) -> Path:
        """The recorded plan."""
        return self.state / "plan.json"

    @property
    def supervisor_pid_file(self) -> Path:
        """Pid file of the supervisor."""
        return self.run / "supervisor.pid"

    @property
    def lan_namespace(self) -> str:
        """Namespace of the bridge; also the outside client's."""
        return f"by-{self.name}-lan"

    def namespace(self, node: str) -> str:
        """Name of a node's network namespace in /run/netns."""
        return f"by-{self.name}-{node}"

    def namespace_path(self, node: str) -> Path:
        """File of a node's network namespace; `client` is the LAN's."""
        return Path("/run/netns") / (self.lan_namespace if node == "client" else self.namespace(node))

    def cgroup(self, node: str) -> str:
        """Cgroup of all of a node's processes, relative to a hierarchy's root."""
        return f"beeyard-playground/{self.name}/{node}"

    def root_dir(self, node: str) -> Path:
        """`root` of the node's daemons."""
        return self.state / node

    def run_dir(self, node: str) -> Path:
        """`run` of the node's daemons: the directory of sockets that swarmctl is aimed at."""
        return self.run / node

    def config_file(self, node: str, daemon: str) -> Path:
        """Configuration of one daemon."""
        return self.state / node / "etc" / f"{daemon}.toml"

    def log_file(self, node: str, daemon: str) -> Path:
        """Log of one daemon."""
        return self.state / node / "log" / f"{daemon}.log"

    def pid_file(self, node: str, daemon: str) -> Path:
        """Pid file of one daemon, written by the supervisor."""
        return self.run / node / f"{daemon}.pid"

    def held_file(self, node: str, daemon: str) -> Path:
        """While it exists, the supervisor leaves the daemon stopped."""
        return self.run / node / f"{daemon}.held"

    def write_plan(self, nodes: list[Node]) -> None:
        """Record the plan before anything is made of it."""
        self.state.mkdir(parents=True, mode=0o700)
        temporary = self.plan_file.with_suffix(".tmp")
        temporary.write_text(json.dumps([asdict(node) for node in nodes], indent=1))
        temporary.rename(self.plan_file)

    def nodes(self) -> list[Node]:
        """Read the plan. Raises PlaygroundError if the playground is not up."""
        try:
            return [Node(**entry) for entry in json.loads(self.plan_file.read_text())]
        except FileNotFoundError:
            others = sorted(path.name for path in STATE_BASE.iterdir()) if STATE_BASE.is_dir() else []
            known = f"; up are {', '.join(others)} (choose with --name)" if others else ""
            raise PlaygroundError(
                f"playground {self.name!r} is not up: start it with `deploy/playground up --name {self.name}`{known}"
            ) from None
        except (ValueError, TypeError) as exc:
            raise PlaygroundError(
                f"playground {self.name!r}: {self.plan_file} is damaged ({exc}); remove it with `down`"
            ) from exc

    def node(self, name: str) -> Node:
        """One node of the plan by name."""
        nodes = self.nodes()
        for node in nodes:
            if node.name == name:
                return node
        raise PlaygroundError(
            f"playground {self.name!r} has no node {name!r}: it has {', '.join(node.name for node in nodes)}"
        )


def plan(managers: int, workers: int) -> list[Node]:
    """Name and number the nodes: manager-1.., worker-1.."""
    if managers < 0 or workers < 0 or not 1 <= managers + workers <= NODES_MAX:
        raise PlaygroundError(
            f"{managers} managers and {workers} workers: ask for 1 to {NODES_MAX} nodes in all"
        )
    roles = [("manager", number + 1) for number in range(managers)]
    roles += [("worker", number + 1) for number in range(workers)]
    return [
        Node(name=f"{role}-{number}", role=role, index=position + 1)
        for position, (role, number) in enumerate(roles)
    ]


def python() -> str:
    """The interpreter that has the product's dependencies: the checkout's environment, else our own."""
    inside = REPOSITORY / ".venv" / "bin" / "python"
    return str(inside) if inside.exists() else "/usr/bin/env python3"
