"""swarmctl update"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete
from cli.command import command, for_each_at_once, with_session
from cli.errors import invalid
from cli.specs import container, limits, ports
from cli.specs.options import add, many, measure, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.session import Session
    from cli.transport.call import Call

UPDATE_TIMEOUT_S = 60.0
_OPTIONS = [
    number("--blkio-weight", help="Block IO weight, between 10 and 1000"),
    number("--cpu-period", help="Limit CPU CFS (Completely Fair Scheduler) period"),
    number("--cpu-quota", help="Limit CPU CFS (Completely Fair Scheduler) quota"),
    number("--cpu-rt-period", help="Limit the CPU real-time period in microseconds"),
    number("--cpu-rt-runtime", help="Limit the CPU real-time runtime in microseconds"),
    number("-c", "--cpu-shares", help="CPU shares (relative weight)"),
    measure("--cpus", metavar="decimal", help="Number of CPUs"),
    text("--cpuset-cpus", help="CPUs in which to allow execution (0-3, 0,1)"),
    text("--cpuset-mems", help="MEMs in which to allow execution (0-3, 0,1)"),
    measure("-m", "--memory", help="Memory limit"),
    measure("--memory-reservation", help="Memory soft limit"),
    measure("--memory-swap", help="Memory plus swap: '-1' to enable unlimited swap"),
    number("--pids-limit", help="Tune container pids limit (set -1 for unlimited)"),
    many("--publish-add", help="Publish a further port to the host, without a restart"),
    many("--publish-rm", help="Publish a port no longer (as given to --publish)"),
    text("--restart", help="Restart policy to apply when a container exits"),
]
_NOT_CHANGED: Mapping[str, Any] = {
    "memory_swappiness": None,
    "oom_kill_disable": False,
    "oom_score_adj": None,
    "blkio_weight_device": (),
    "device_read_bps": (),
    "device_write_bps": (),
    "device_read_iops": (),
    "device_write_iops": (),
    "ulimit": (),
    "shm_size": "",
}
"""Limits that `run` has and a running container keeps."""


def _is_given(option: str) -> bool:
    """Return whether an option is on the command line; an empty value is one, and changes nothing."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


@command()
@add(_OPTIONS)
@click.argument(
    "containers", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete.containers
)
@with_session
def update(session: Session, containers: tuple[str, ...], **given: Any) -> int:
    """Update configuration of one or more containers."""
    if not any(map(_is_given, given)):
        raise invalid("you must provide one or more flags when using this command")
    request = pb.UpdateContainerRequest(
        resources=limits.build({**_NOT_CHANGED, **given}),
        restart=container.parse_restart(given["restart"]) if given["restart"] else None,
        publish_add=[ports.parse_container(value) for value in given["publish_add"]],
        publish_remove=[ports.parse_container(value) for value in given["publish_rm"]],
    )

    def begin(name: str) -> Call[pb.UpdateContainerRequest, pb.UpdateContainerResponse]:
        request.container = name
        return session.start(api.Containers.UpdateContainer, request, timeout_s=UPDATE_TIMEOUT_S)

    def finish(name: str, response: pb.UpdateContainerResponse) -> str:
        for warning in response.warnings:
            print(f"WARNING: {warning}", file=sys.stderr)
        return name

    return for_each_at_once(containers, begin, finish)
