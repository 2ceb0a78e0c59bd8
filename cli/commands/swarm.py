"""swarmctl swarm …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as objects
from cli import api, swarm_lists
from cli.command import command, with_session
from cli.specs.options import Whole
from cli.specs.values import INT64_MAX, positive_milliseconds
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cli.session import Session

F = TypeVar("F", bound="Callable[..., Any]")
JOIN_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 30.0
AVAILABILITIES = {
    "active": objects.NODE_AVAILABILITY_ACTIVE,
    "pause": objects.NODE_AVAILABILITY_PAUSE,
    "drain": objects.NODE_AVAILABILITY_DRAIN,
}


def _act_here(session: Session, action: str) -> None:
    """Refuse --node for what concerns the node that is asked: it would otherwise hit that one instead.

    Raises:
        errors.Invalid: NODE_OPTION.
    """
    if session.node:
        raise errors.Invalid(
            f"swarm {action} acts on the node that swarmctl is aimed at, not on --node {session.node}: run it there,"
            " or aim with --host",
            reason="NODE_OPTION",
        )


def _apply_settings(spec: objects.ClusterSpec, given: Mapping[str, object]) -> None:
    """Put the options that were given into the cluster's spec."""
    if given.get("autolock") is not None:
        spec.autolock = bool(given["autolock"])
    if given.get("cert_expiry"):
        spec.certificate_expiry_ms = positive_milliseconds(str(given["cert_expiry"]), "--cert-expiry")
    if given.get("dispatcher_heartbeat"):
        spec.heartbeat_period_ms = positive_milliseconds(
            str(given["dispatcher_heartbeat"]), "--dispatcher-heartbeat"
        )
    if given.get("snapshot_interval") is not None:
        spec.snapshot_interval = int(str(given["snapshot_interval"]))
    if given.get("task_history_limit") is not None:
        spec.task_history_limit = int(str(given["task_history_limit"]))


def _settings_options(function: F) -> F:
    """The options that init and update share."""
    for option in (
        click.option(
            "--task-history-limit",
            type=Whole(-1, INT64_MAX),
            help="Task history retention limit (5)",
        ),
        click.option(
            "--snapshot-interval",
            type=Whole(1, INT64_MAX),
            help="Log entries between raft snapshots (10000)",
        ),
        click.option("--dispatcher-heartbeat", metavar="duration", help="Dispatcher heartbeat period (2s)"),
        click.option(
            "--cert-expiry", metavar="duration", help="Validity period for node certificates (2160h)"
        ),
        click.option("--autolock/--no-autolock", default=None, help="Lock the managers' state with a key"),
    ):
        function = option(function)
    return function


@command()
@_settings_options
@click.option("--advertise-addr", default="", metavar="string", help="Advertised address (format: IP[:port])")
@click.option("--listen-addr", default="", metavar="node-addr", help="Listen address (format: IP:port)")
@click.option(
    "--availability",
    type=click.Choice(list(AVAILABILITIES)),
    default="active",
    help="Availability of the node",
)
@click.option("--default-addr-pool", multiple=True, metavar="ipNetSlice", help="Address pool in CIDR format")
@click.option(
    "--default-addr-pool-mask-length",
    type=Whole(0, 32),
    metavar="int",
    default=0,
    help="Subnet mask length (24)",
)
@click.option(
    "--data-path-port",
    type=Whole(0, 65535),
    metavar="int",
    default=0,
    help="Port of data path traffic (4789)",
)
@click.option("--force-new-cluster", is_flag=True, help="Force create a new cluster from current state")
@with_session
def init(
    session: Session,
    advertise_addr: str,
    listen_addr: str,
    availability: str,
    default_addr_pool: tuple[str, ...],
    default_addr_pool_mask_length: int,
    data_path_port: int,
    *,
    force_new_cluster: bool,
    **settings: object,
) -> None:
    """Initialize a swarm."""
    _act_here(session, "init")
    spec = objects.ClusterSpec(
        default_address_pool=default_addr_pool,
        default_address_pool_mask=default_addr_pool_mask_length,
        data_path_port=data_path_port,
    )
    _apply_settings(spec, settings)
    request = pb.InitSwarmRequest(
        listen_address=listen_addr,
        advertise_address=advertise_addr,
        spec=spec,
        availability=AVAILABILITIES[availability],
        force_new_cluster=force_new_cluster,
    )
    made = session.call(api.Cluster.InitSwarm, request, timeout_s=JOIN_TIMEOUT_S)
    print(f"Swarm initialized: current node ({made.node_id}) is now a manager.\n")
    print("To add a worker to this swarm, run the following command:\n")
    print(f"    swarmctl swarm join --token {made.join_tokens.worker} {made.join_address}\n")
    print(
        "To add a manager to this swarm, run 'swarmctl swarm join-token manager' and follow the instructions."
    )
    if made.unlock_key:
        print("\nTo unlock a swarm manager after it restarts, run the `swarmctl swarm unlock`")
        print(f"command and provide the following key:\n\n    {made.unlock_key}\n")


@command()
@click.option("--token", required=True, metavar="string", help="Token for entry into the swarm")
@click.option("--advertise-addr", default="", metavar="string", help="Advertised address (format: IP[:port])")
@click.option("--listen-addr", default="", metavar="node-addr", help="Listen address (format: IP:port)")
@click.option(
    "--availability",
    type=click.Choice(list(AVAILABILITIES)),
    default="active",
    help="Availability of the node",
)
@click.argument("remotes", metavar="HOST:PORT", nargs=-1, required=True)
@with_session
def join(
    session: Session,
    token: str,
    advertise_addr: str,
    listen_addr: str,
    availability: str,
    remotes: tuple[str, ...],
) -> None:
    """Join a swarm as a node and/or manager."""
    _act_here(session, "join")
    request = pb.JoinSwarmRequest(
        remote_addresses=[remote if ":" in remote else f"{remote}:2377" for remote in remotes],
        token=token,
        listen_address=listen_addr,
        advertise_address=advertise_addr,
        availability=AVAILABILITIES[availability],
    )
    joined = session.call(api.Cluster.JoinSwarm, request, timeout_s=JOIN_TIMEOUT_S)
    role = "manager" if joined.role == objects.NODE_ROLE_MANAGER else "worker"
    print(f"This node joined a swarm as a {role}.")


@command("join-token")
@click.option("-q", "--quiet", is_flag=True, help="Only display token")
@click.option("--rotate", is_flag=True, help="Rotate join token")
@click.argument("role", metavar="worker|manager", type=click.Choice(["worker", "manager"]))
@with_session
def join_token(session: Session, role: str, *, quiet: bool, rotate: bool) -> None:
    """Manage join tokens."""
    request = pb.GetJoinTokensRequest(
        rotate_worker=rotate and role == "worker", rotate_manager=rotate and role == "manager"
    )
    answer = session.call(api.Cluster.GetJoinTokens, request, timeout_s=WRITE_TIMEOUT_S)
    token = answer.tokens.manager if role == "manager" else answer.tokens.worker
    if quiet:
        print(token)
        return
    if rotate:
        print(f"Successfully rotated {role} join token.\n")
    print(f"To add a {role} to this swarm, run the following command:\n")
    print(f"    swarmctl swarm join --token {token} {answer.join_address}\n")


@command()
@click.option("-f", "--force", is_flag=True, help="Force this node to leave the swarm, ignoring warnings")
@with_session
def leave(session: Session, *, force: bool) -> None:
    """Leave the swarm."""
    _act_here(session, "leave")
    session.call(api.Cluster.LeaveSwarm, pb.LeaveSwarmRequest(force=force), timeout_s=JOIN_TIMEOUT_S)
    print("Node left the swarm.")


@command()
@_settings_options
@with_session
def update(session: Session, **settings: object) -> None:
    """Update the swarm."""
    request = pb.GetClusterRequest(consistency=pb.CONSISTENCY_LINEARIZABLE)
    cluster = session.call(api.Cluster.GetCluster, request, timeout_s=swarm_lists.READ_TIMEOUT_S).cluster
    spec = objects.ClusterSpec()
    spec.CopyFrom(cluster.spec)
    _apply_settings(spec, settings)
    session.call(
        api.Cluster.UpdateCluster,
        pb.UpdateClusterRequest(version=cluster.meta.version, spec=spec),
        timeout_s=WRITE_TIMEOUT_S,
    )
    print("Swarm updated.")
