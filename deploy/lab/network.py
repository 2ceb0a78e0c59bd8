"""The LAN of a playground, made with iproute2.

One namespace holds a bridge; each node has a namespace of its own, joined to the bridge by a veth pair. Nothing is
made in the host's namespace, so a playground can neither disturb nor be reached from the host's network: the outside
client of a test is the LAN's own namespace (`exec client`).

A partition is a second bridge: the nodes on one side keep each other, and lose the rest. No rule is involved.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.lab.layout import CLIENT_HOST, LAN_LENGTH, LAN_PREFIX, Node, Playground, PlaygroundError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN_BRIDGE = "lan0"
OTHER_BRIDGE = "lan1"


def run(argv: Sequence[str], *, ignore_errors: bool = False) -> str:
    """Run a program to its end; raise PlaygroundError with what it said if it fails."""
    done = subprocess.run(list(argv), capture_output=True, text=True, check=False)
    if done.returncode != 0 and not ignore_errors:
        raise PlaygroundError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def port(node: Node) -> str:
    """Name of a node's port on the bridge."""
    return f"p{node.index}"


def batch(namespace: str, lines: Sequence[str]) -> None:
    """Run several ip(8) commands in a namespace with one process."""
    done = subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PlaygroundError(f"ip in {namespace}: {done.stderr.strip()}")


def create(playground: Playground, nodes: Sequence[Node]) -> None:
    """Make the LAN and all nodes' namespaces."""
    lan = playground.lan_namespace
    run(["ip", "netns", "add", lan])
    batch(
        lan,
        [
            "link set lo up",
            f"link add {MAIN_BRIDGE} type bridge forward_delay 0",
            f"link add {OTHER_BRIDGE} type bridge forward_delay 0",
            f"addr add {LAN_PREFIX}.{CLIENT_HOST}/{LAN_LENGTH} dev {MAIN_BRIDGE}",
            f"link set {MAIN_BRIDGE} up",
            f"link set {OTHER_BRIDGE} up",
        ],
    )
    for node in nodes:
        namespace = playground.namespace(node.name)
        run(["ip", "netns", "add", namespace])
        batch(
            lan,
            [
                f"link add {port(node)} type veth peer name eth0 netns {namespace}",
                f"link set {port(node)} master {MAIN_BRIDGE} up",
            ],
        )
        batch(
            namespace,
            [
                "link set lo up",
                f"addr add {node.address}/{LAN_LENGTH} dev eth0",
                "link set eth0 up",
                f"route add default via {LAN_PREFIX}.{CLIENT_HOST}",
            ],
        )


def remove(playground: Playground) -> None:
    """Remove every namespace of the playground. Missing ones are no error."""
    directory = Path("/run/netns")
    prefix = playground.namespace("")
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    for name in sorted(names):
        if name.startswith(prefix):
            run(["ip", "netns", "del", name], ignore_errors=True)


def partition(playground: Playground, isolated: Sequence[Node]) -> None:
    """Put these nodes on a LAN of their own; all others stay on the first."""
    wanted = {node.name for node in isolated}
    batch(
        playground.lan_namespace,
        [
            f"link set {port(node)} master {OTHER_BRIDGE if node.name in wanted else MAIN_BRIDGE}"
            for node in playground.nodes()
        ],
    )


def isolated_ports(playground: Playground) -> set[str]:
    """Ports that are on the second LAN."""
    out = run(
        ["ip", "-n", playground.lan_namespace, "-o", "link", "show", "master", OTHER_BRIDGE],
        ignore_errors=True,
    )
    return {line.split(":")[1].split("@")[0].strip() for line in out.splitlines() if line}
