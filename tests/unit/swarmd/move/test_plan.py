"""What may be moved, and what goes along."""

from __future__ import annotations

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2, volume_pb2
from services.kit import errors
from services.swarmd.move.core import carried, plan
from services.swarmd.move.core.move import VolumeMount

VOLUME = spec_pb2.MOUNT_TYPE_VOLUME


def container(**fields: object) -> pb.Container:
    made = pb.Container(id="c", name="web", status=pb.ContainerStatus(state=pb.CONTAINER_STATE_RUNNING))
    for name, value in fields.items():
        getattr(made, name).CopyFrom(value)
    return made


def with_volumes(*names: str) -> pb.Container:
    made = container()
    for name in names:
        made.mount_points.add(type=VOLUME, name=name, destination=f"/{name}")
    made.mount_points.add(type=spec_pb2.MOUNT_TYPE_BIND, source="/x", destination="/y")
    return made


def target(**fields: object) -> plan.Target:
    return plan.Target(name="n2", platform="linux/amd64", **fields)  # type: ignore[arg-type]


def planned(
    moved: pb.Container, options: plan.Options, there: plan.Target, users: dict[str, int] | None = None
) -> plan.Plan:
    at_source = {name: volume_pb2.Volume(container_count=count) for name, count in (users or {}).items()}
    return plan.plan(moved, options, there, image_platform="linux/amd64", at_source=at_source)


@pytest.mark.parametrize(
    ("status", "labels", "options", "reason"),
    [
        (pb.CONTAINER_STATE_RUNNING, {plan.TASK_ID_LABEL: "t"}, plan.Options(), "CONTAINER_OF_SERVICE"),
        (pb.CONTAINER_STATE_PAUSED, {}, plan.Options(), "CONTAINER_PAUSED"),
        (pb.CONTAINER_STATE_REMOVING, {}, plan.Options(), "CONTAINER_REMOVING"),
        (pb.CONTAINER_STATE_DEAD, {}, plan.Options(), "CONTAINER_DEAD"),
        (pb.CONTAINER_STATE_EXITED, {}, plan.Options(checkpoint=True), "CONTAINER_NOT_RUNNING"),
    ],
)
def test_what_is_not_to_be_moved(
    status: pb.ContainerState.ValueType, labels: dict[str, str], options: plan.Options, reason: str
) -> None:
    moved = container(status=pb.ContainerStatus(state=status), spec=spec_pb2.ContainerSpec(labels=labels))
    with pytest.raises(errors.FailedPrecondition) as refused:
        plan.check_container(moved, options)
    assert refused.value.reason == reason


def test_processes_stay_with_their_ids() -> None:
    """What a checkpoint has of a user namespace are the ids of its node."""
    with_ids = spec_pb2.ContainerSpec(security=spec_pb2.Security(userns="auto"))
    moved = container(status=pb.ContainerStatus(state=pb.CONTAINER_STATE_RUNNING), spec=with_ids)
    plan.check_container(moved, plan.Options())
    with pytest.raises(errors.Unsupported, match="move it without a checkpoint"):
        plan.check_container(moved, plan.Options(checkpoint=True))


def test_what_is_held_is_being_moved() -> None:
    status = pb.ContainerStatus(state=pb.CONTAINER_STATE_RUNNING, held_by="move x")
    with pytest.raises(errors.FailedPrecondition, match="move x"):
        plan.check_container(container(status=status), plan.Options())


def test_a_checkpoint_needs_both_nodes() -> None:
    plan.check_support([plan.Support(node="a"), plan.Support(node="b")])
    with pytest.raises(errors.Unsupported, match="node b: no CRIU"):
        plan.check_support([plan.Support(node="a"), plan.Support(node="b", reason="no CRIU")])


def test_everything_that_is_in_the_way_is_named() -> None:
    problems = [
        pb.ContainerProblem(kind="name", subject="web", message="the name web is in use"),
        pb.ContainerProblem(kind="bind", subject="/x", message="the path /x is not there"),
    ]
    there = target(problems=problems, missing_networks=["own"], volumes=frozenset({"data"}))
    options = plan.Options(volumes=True)
    with pytest.raises(errors.FailedPrecondition) as refused:
        plan.plan(with_volumes("data"), options, there, image_platform="linux/arm64", at_source={})
    for said in ("arm64", "the name web", "/x is not there (--force", "network own", "volume data exists"):
        assert said in refused.value.message


def test_force_passes_over_what_a_container_may_live_without() -> None:
    missing = [pb.ContainerProblem(kind=kind, message=kind) for kind in sorted(plan.FORCEABLE)]
    with pytest.raises(errors.FailedPrecondition):
        planned(container(), plan.Options(), target(problems=missing))
    assert planned(container(), plan.Options(force=True), target(problems=missing)) == plan.Plan()
    taken = [pb.ContainerProblem(kind="port", message="port 80")]
    with pytest.raises(errors.FailedPrecondition):
        planned(container(), plan.Options(force=True), target(problems=taken))


def test_volumes_stay_or_go_along() -> None:
    anonymous = "f" * 64
    moved = with_volumes("data", anonymous)
    stays = planned(moved, plan.Options(), target(volumes=frozenset({"data"})))
    assert stays.volumes == ()
    assert stays.new_volumes == (anonymous,), "what is there already is not the move's to remove"
    assert "data, ffffffffffff" in stays.warnings[0]
    goes = planned(moved, plan.Options(volumes=True), target(), {"data": 2, anonymous: 1})
    assert goes.volumes == goes.new_volumes == ("data", anonymous)
    assert len(goes.warnings) == 1
    assert "data has other users" in goes.warnings[0]


def test_networks_that_a_node_may_lack() -> None:
    network = spec_pb2.Network(
        mode="own", endpoints=[spec_pb2.Endpoint(network=name) for name in ("own", "b")]
    )
    assert plan.networks(spec_pb2.ContainerSpec(network=network)) == ("own", "b")
    for mode in ("", "bridge", "none", "host", "container:x"):
        assert plan.networks(spec_pb2.ContainerSpec(network=spec_pb2.Network(mode=mode))) == ()


def test_volumes_are_named_where_they_had_no_name() -> None:
    spec = spec_pb2.ContainerSpec(
        volumes_from=["other"],
        mounts=[
            spec_pb2.Mount(type=VOLUME, target="/a", read_only=True),
            spec_pb2.Mount(type=VOLUME, target="/b"),
        ],
    )
    mounts = (
        VolumeMount(name="one", target="/a", read_only=True),
        VolumeMount(name="two", target="/of/the/image"),
    )
    made = carried.with_volumes(spec, mounts)
    assert [(mount.target, mount.source, mount.read_only) for mount in made.mounts] == [
        ("/a", "one", True),
        ("/b", "", False),
        ("/of/the/image", "two", False),
    ]
    assert not made.volumes_from
    assert carried.with_volumes(spec, ()) == spec


def test_volumes_from_elsewhere_and_images_that_are_not_there_stop_nothing() -> None:
    mounted = {"data": volume_pb2.Volume(options={"type": "tmpfs", "device": "tmpfs"})}
    moved = with_volumes("data")
    plan.plan(moved, plan.Options(), target(), image_platform="linux/amd64", at_source=mounted)
    with pytest.raises(errors.FailedPrecondition, match="volume data is mounted from elsewhere"):
        plan.plan(
            moved, plan.Options(volumes=True), target(), image_platform="linux/amd64", at_source=mounted
        )
    moved.spec.mounts.add(type=spec_pb2.MOUNT_TYPE_IMAGE, source="tools:1", target="/tools")
    assert plan.mounted_images(moved.spec) == ("tools:1",)
    with pytest.raises(errors.FailedPrecondition, match="the image tools:1, which is mounted"):
        planned(moved, plan.Options(), target(missing_images=["tools:1"]))
