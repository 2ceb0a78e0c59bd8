"""Whether a container may be moved, and what goes with it. Pure: what was read of both nodes in, a plan out.

What can be known to fail is refused before anything is stopped; the rest is found out on the way, and taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.swarmd.move.core.move import VolumeMount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from beeyard.container.v1 import volume_pb2

TASK_ID_LABEL: Final = "com.docker.swarm.task.id"
PROBLEMS_SHOWN_MAX: Final = 8
FORCEABLE: Final = frozenset({"bind", "device"})
"""Kinds of problems that `--force` passes over: the container may live without."""
_OF_THE_NODE: Final = frozenset({"", "host"})
"""User namespaces that are none of its own."""
_EVERYWHERE: Final = frozenset({"", "bridge", "default", "none", "host"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asks for."""

    volumes: bool = False
    checkpoint: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Whether a node can checkpoint; the reason why not."""

    node: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was read of the node that the container goes to."""

    name: str
    platform: str
    """"linux/amd64"."""
    problems: Sequence[pb.ContainerProblem] = ()
    missing_networks: Sequence[str] = ()
    missing_images: Sequence[str] = ()
    """Of those that are mounted in the container."""
    volumes: frozenset[str] = frozenset()
    """Of those that the container has: the ones that exist there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes along."""

    volumes: tuple[str, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    new_volumes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)


def check_container(container: pb.Container, options: Options) -> None:
    """Refuse what is not to be moved, whereto ever.

    Raises:
        errors.FailedPrecondition: CONTAINER_OF_SERVICE, CONTAINER_PAUSED, CONTAINER_REMOVING, CONTAINER_DEAD,
            CONTAINER_HELD, CONTAINER_NOT_RUNNING.
        errors.Unsupported: CHECKPOINT_UNSUPPORTED.
    """
    name, status = container.name, container.status
    if container.spec.labels.get(TASK_ID_LABEL):
        raise errors.FailedPrecondition(
            f"container {name} is a task of a service, and the swarm decides where it runs: use"
            " `swarmctl service update --constraint-add node.hostname==NODE`, or drain its node",
            reason="CONTAINER_OF_SERVICE",
        )
    if status.held_by:
        raise errors.FailedPrecondition(
            f"container {name} is being moved already ({status.held_by})", reason="CONTAINER_HELD"
        )
    refusals = {
        pb.CONTAINER_STATE_PAUSED: ("it is paused: unpause it first", "CONTAINER_PAUSED"),
        pb.CONTAINER_STATE_REMOVING: ("it is being removed", "CONTAINER_REMOVING"),
        pb.CONTAINER_STATE_DEAD: ("a removal of it has failed: it can only be removed", "CONTAINER_DEAD"),
    }
    if status.state in refusals:
        text, reason = refusals[status.state]
        raise errors.FailedPrecondition(f"container {name}: {text}", reason=reason)
    if options.checkpoint and status.state != pb.CONTAINER_STATE_RUNNING:
        raise errors.FailedPrecondition(
            f"container {name} does not run, so there is no state of processes to take along:"
            " move it without a checkpoint",
            reason="CONTAINER_NOT_RUNNING",
        )
    if options.checkpoint and container.spec.security.userns not in _OF_THE_NODE:
        raise errors.Unsupported(
            f"container {name} has a user namespace of its own, and gets other ids on another node: its processes"
            " cannot go on there; move it without a checkpoint",
            reason="CHECKPOINT_UNSUPPORTED",
        )


def check_support(supports: Sequence[Support]) -> None:
    """Refuse a checkpoint that one of the nodes cannot make, or the other not restore. Nothing is stopped instead.

    Raises:
        errors.Unsupported: CHECKPOINT_UNSUPPORTED.
    """
    lacking = [f"node {support.node}: {support.reason}" for support in supports if support.reason]
    if lacking:
        raise errors.Unsupported(
            f"a move with a checkpoint is not possible: {'; '.join(lacking)}", reason="CHECKPOINT_UNSUPPORTED"
        )


def networks(spec: spec_pb2.ContainerSpec) -> tuple[str, ...]:
    """Return the networks by name that a container is in and that a node may lack."""
    named = (spec.network.mode, *(endpoint.network for endpoint in spec.network.endpoints))
    found = (name for name in named if name not in _EVERYWHERE and not name.startswith("container:"))
    return tuple(dict.fromkeys(found))


def volumes(container: pb.Container) -> tuple[VolumeMount, ...]:
    """Return the volumes of a container."""
    return tuple(
        VolumeMount(name=point.name, target=point.destination, read_only=point.read_only)
        for point in container.mount_points
        if point.type == spec_pb2.MOUNT_TYPE_VOLUME and point.name
    )


def mounted_images(spec: spec_pb2.ContainerSpec) -> tuple[str, ...]:
    """Return the images that are mounted in a container."""
    found = (mount.source for mount in spec.mounts if mount.type == spec_pb2.MOUNT_TYPE_IMAGE)
    return tuple(dict.fromkeys(found))


def plan(
    container: pb.Container,
    options: Options,
    target: Target,
    *,
    image_platform: str,
    at_source: Mapping[str, volume_pb2.Volume],
) -> Plan:
    """Return what goes along.

    Args:
        container: What is moved.
        options: What the caller asks for.
        target: Where to.
        image_platform: What its image is for.
        at_source: Its volumes, as they are on its node.

    Raises:
        errors.FailedPrecondition: NOT_MOVABLE; the message lists what is in the way.
    """
    mounts = volumes(container)
    named = tuple(dict.fromkeys(mount.name for mount in mounts))
    lacking = list(_lacking(options, target, image_platform, named))
    if options.volumes:
        lacking += [
            f"volume {_short(name)} is mounted from elsewhere, so its content cannot be taken along:"
            " move it without --volumes"
            for name in named
            if name in at_source and at_source[name].options
        ]
    if lacking:
        shown = "; ".join(lacking[:PROBLEMS_SHOWN_MAX])
        more = f"; and {len(lacking) - PROBLEMS_SHOWN_MAX} more" if len(lacking) > PROBLEMS_SHOWN_MAX else ""
        raise errors.FailedPrecondition(
            f"container {container.name} cannot be moved to node {target.name}: {shown}{more}",
            reason="NOT_MOVABLE",
        )
    if not options.volumes:
        new = tuple(name for name in named if name not in target.volumes)
        stay = ", ".join(_short(name) for name in named)
        warnings = (f"its volumes stay behind ({stay}): --volumes takes them along",) if named else ()
        return Plan(new_volumes=new, warnings=warnings)
    shared = tuple(
        f"volume {_short(name)} has other users on its node: it is copied as it is at the moment"
        for name in named
        if name in at_source and at_source[name].container_count > 1
    )
    return Plan(volumes=named, volume_mounts=mounts, new_volumes=named, warnings=shared)


def _lacking(options: Options, target: Target, image_platform: str, named: Sequence[str]) -> Iterator[str]:
    if image_platform != target.platform:
        yield f"its image is for {image_platform}, and the node is {target.platform}"
    for problem in target.problems:
        if problem.kind not in FORCEABLE:
            yield problem.message
        elif not options.force:
            yield f"{problem.message} (--force moves it nevertheless)"
    for network in target.missing_networks:
        yield f"the network {network} is not there"
    for image in target.missing_images:
        yield f"the image {image}, which is mounted in it, is not there: `swarmctl --node {target.name} pull` it"
    if options.volumes:
        for name in named:
            if name in target.volumes:
                yield f"a volume {_short(name)} exists there already"


def _short(name: str) -> str:
    """Return the name of a volume as people read it: the beginning of an anonymous one."""
    return name[:12] if len(name) == 64 else name
