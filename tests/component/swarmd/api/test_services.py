"""ServiceService: what users send, what is stored, and what they are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable

import pytest

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.store.tables import SECRETS, SERVICES, copy_of
from tests.component.swarmd.api.desk import Desk
from tests.component.swarmd.dispatcher.seat import READY, node, task

RUNNING = objects_pb2.TASK_STATE_RUNNING
DIGEST_1, DIGEST_2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def spec(
    name: str = "web", image: str = "web:1", replicas: int = 2, port: int = 0
) -> objects_pb2.ServiceSpec:
    made = objects_pb2.ServiceSpec(annotations=objects_pb2.Annotations(name=name))
    made.task.container.image = image
    made.mode.replicated.replicas = replicas
    if port:
        made.endpoint.ports.add(target_port=80, published_port=port)
    return made


async def create(
    at: Desk, wanted: objects_pb2.ServiceSpec, **more: object
) -> control_pb2.CreateServiceResponse:
    request = control_pb2.CreateServiceRequest(spec=wanted, **more)  # type: ignore[arg-type]
    return await client.call(at.services.CreateService(request))


async def update(at: Desk, service: objects_pb2.Service, **more: object) -> control_pb2.UpdateServiceResponse:
    fields = {"service": service.id, "version": service.meta.version, "spec": service.spec, **more}
    return await client.call(at.services.UpdateService(control_pb2.UpdateServiceRequest(**fields)))  # type: ignore[arg-type]


async def get(at: Desk, name: str, **more: object) -> control_pb2.GetServiceResponse:
    return await client.call(at.services.GetService(control_pb2.GetServiceRequest(service=name, **more)))  # type: ignore[arg-type]


async def refused(call: Awaitable[object]) -> errors.BeeyardError:
    with pytest.raises(errors.BeeyardError) as caught:
        await call
    return caught.value


async def test_a_service_is_made_with_its_image_pinned(at: Desk) -> None:
    made = await create(at, spec())
    assert len(made.service.id) == 25
    assert made.service.meta.version > 0
    assert made.service.spec_version == made.service.meta.version
    assert made.service.spec.task.container.image == f"web:1@{DIGEST_1}"
    assert list(made.warnings) == []
    assert (await get(at, "web")).service.service == made.service


async def test_an_unknown_image_is_a_warning(at: Desk) -> None:
    made = await create(at, spec(image="nothing:1"))
    assert made.service.spec.task.container.image == "nothing:1"
    (warning,) = made.warnings
    assert "No such image: nothing:1" in warning
    at.resolver.failure = errors.Unavailable("no peer answers")
    (warning,) = (await create(at, spec("other", "nothing:2"))).warnings
    assert "no peer answers" in warning


async def test_the_image_is_left_alone_if_asked(at: Desk) -> None:
    await create(at, spec(), no_resolve_image=True)
    await create(at, spec("exact", f"web:9@{DIGEST_2}"))
    assert at.resolver.asked == []


async def test_ingress_ports_come_with_a_warning(at: Desk) -> None:
    (warning,) = (await create(at, spec(port=8080))).warnings
    assert warning == (
        "published port 8080 answers on the nodes that run a task of the service, not yet on the others: the routing"
        " mesh between nodes is not available"
    )


async def test_a_request_id_makes_one_service(at: Desk) -> None:
    first = await create(at, spec(), request_id="r1")
    again = await create(at, spec(), request_id="r1")
    assert again.service == first.service
    other = await refused(create(at, spec("other"), request_id="r1"))
    assert other.reason == "REQUEST_ID_REUSED"
    long = await refused(create(at, spec("long"), request_id="x" * 129))
    assert long.reason == "REQUEST_ID_INVALID"


async def test_the_same_request_twice_at_once_makes_one_service(at: Desk) -> None:
    at.seat.log.delay_s = 0.02
    answers = await asyncio.gather(*(create(at, spec(port=8080), request_id="r1") for _ in range(8)))
    assert len({answer.service.id for answer in answers}) == 1


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (lambda wanted: setattr(wanted.annotations, "name", "no spaces"), errors.Invalid, "SPEC_INVALID"),
        (lambda wanted: wanted.task.container.ClearField("image"), errors.Invalid, "SPEC_INVALID"),
        (
            lambda wanted: wanted.task.placement.constraints.append("node.role"),
            errors.Invalid,
            "CONSTRAINT_INVALID",
        ),
        (
            lambda wanted: wanted.task.container.env.append("A=" + "x" * (3 << 20)),
            errors.Exhausted,
            "SPEC_TOO_LARGE",
        ),
        (lambda wanted: wanted.task.secrets.add(name="none"), errors.NotFound, "SECRET_NOT_FOUND"),
        (lambda wanted: wanted.task.networks.add(target="back"), errors.NotFound, "NETWORK_NOT_FOUND"),
    ],
)
async def test_what_cannot_be_leaves_nothing_behind(at: Desk, change, kind, reason) -> None:  # type: ignore[no-untyped-def]
    wanted = spec()
    change(wanted)
    refusal = await refused(create(at, wanted))
    assert (type(refusal), refusal.reason) == (kind, reason)
    assert at.seat.store.view().count(SERVICES) == 0
    assert at.seat.log.entries == 0


async def test_a_service_without_a_name_gets_one(at: Desk) -> None:
    made = await create(at, spec(""), request_id="r1")
    assert re.fullmatch(r"[a-z]+_[a-z]+", made.service.spec.annotations.name)
    assert (await create(at, spec(""), request_id="r1")).service == made.service, "a retry finds its own"
    other = await create(at, spec(""))
    assert other.service.spec.annotations.name != made.service.spec.annotations.name


async def test_names_are_unique(at: Desk) -> None:
    await create(at, spec())
    refusal = await refused(create(at, spec("WEB")))
    assert (type(refusal), refusal.reason) == (errors.AlreadyExists, "NAME_IN_USE")


async def test_a_port_has_one_service_even_when_two_ask_at_once(at: Desk) -> None:
    at.seat.log.delay_s = 0.02
    answers = await asyncio.gather(
        create(at, spec("a", port=8080)), create(at, spec("b", port=8080)), return_exceptions=True
    )
    refusals = [answer for answer in answers if isinstance(answer, errors.AlreadyExists)]
    assert [refusal.reason for refusal in refusals] == ["PORT_IN_USE"]
    assert "already in use by service" in refusals[0].message
    assert at.seat.store.view().count(SERVICES) == 1


async def test_references_are_stored_by_id(at: Desk) -> None:
    secret = objects_pb2.Secret(id="k1", spec=objects_pb2.SecretSpec(data=b"x"))
    secret.spec.annotations.name = "key"
    await at.seat.put(secret)
    wanted = spec()
    wanted.task.secrets.add(name="key")
    made = await create(at, wanted)
    assert [(ref.id, ref.name) for ref in made.service.spec.task.secrets] == [("k1", "key")]
    assert at.seat.store.view().get(SECRETS, "k1") is not None


async def test_an_update_keeps_the_spec_before_and_rolls_back(at: Desk) -> None:
    made = (await create(at, spec())).service
    wanted = copy_of(made)
    wanted.spec.task.container.image = "web:2"
    updated = (await update(at, wanted)).service
    assert updated.spec.task.container.image == f"web:2@{DIGEST_2}"
    assert updated.previous_spec == made.spec
    assert updated.spec_version == updated.meta.version > made.spec_version
    back = (await update(at, updated, rollback=True)).service
    assert back.spec == made.spec
    assert back.spec_version == made.spec_version
    assert back.update_status.state == objects_pb2.UPDATE_STATE_ROLLBACK_STARTED
    none = await refused(update(at, (await create(at, spec("new"))).service, rollback=True))
    assert none.reason == "NO_PREVIOUS_SPEC"


async def test_of_two_updates_from_one_version_one_is_out_of_sequence(at: Desk) -> None:
    made = (await create(at, spec())).service
    first, second = copy_of(made), copy_of(made)
    first.spec.mode.replicated.replicas = 3
    second.spec.mode.replicated.replicas = 4
    at.seat.log.delay_s = 0.02
    answers = await asyncio.gather(update(at, first), update(at, second), return_exceptions=True)
    conflicts = [answer for answer in answers if isinstance(answer, errors.Conflict)]
    assert [conflict.reason for conflict in conflicts] == ["VERSION_MISMATCH"]
    assert "update out of sequence" in conflicts[0].message


async def test_what_the_swarm_writes_does_not_outdate_a_user(at: Desk) -> None:
    made = (await create(at, spec())).service
    touched = copy_of(made)
    touched.update_status.message = "update in progress"
    await at.seat.store.update(lambda tx: tx.update(SERVICES, touched))
    scaled = copy_of(made)
    scaled.spec.mode.replicated.replicas = 9
    assert (await update(at, scaled)).service.spec.mode.replicated.replicas == 9


@pytest.mark.parametrize("version", [0, 2**63])
async def test_an_update_needs_a_version_that_was_read(at: Desk, version: int) -> None:
    made = (await create(at, spec())).service
    refusal = await refused(update(at, made, version=version))
    assert refusal.reason == "VERSION_MISMATCH"


async def test_the_mode_stays(at: Desk) -> None:
    made = (await create(at, spec())).service
    getattr(made.spec.mode, "global").SetInParent()
    assert (await refused(update(at, made))).reason == "MODE_CHANGE"


async def test_an_image_that_cannot_be_looked_up_again_stays(at: Desk) -> None:
    made = (await create(at, spec())).service
    made.spec.task.container.image = "web:1"
    at.resolver.failure = errors.Unavailable("no peer answers")
    updated = await update(at, made)
    assert updated.service.spec.task.container.image == f"web:1@{DIGEST_1}"
    assert "keeps the one that it has" in updated.warnings[0]


async def test_a_service_is_removed_once(at: Desk) -> None:
    await create(at, spec())
    request = control_pb2.RemoveServiceRequest(service="web")
    await client.call(at.services.RemoveService(request))
    refusal = await refused(client.call(at.services.RemoveService(request)))
    assert (type(refusal), refusal.reason) == (errors.NotFound, "SERVICE_NOT_FOUND")


async def test_lists_count_filter_and_page(at: Desk) -> None:
    for name in ("a", "b", "c"):
        wanted = spec(name)
        wanted.annotations.labels["first"] = str(name == "a")
        await create(at, wanted)
    service_id = (await get(at, "a")).service.service.id
    running = task("t1", state=RUNNING)
    running.service_id = service_id
    await at.seat.put(node("n1", READY), running)

    async def listed(**more: object) -> control_pb2.ListServicesResponse:
        return await client.call(at.services.ListServices(control_pb2.ListServicesRequest(**more)))  # type: ignore[arg-type]

    def chosen(key: str, value: str) -> control_pb2.Filters:
        return control_pb2.Filters(by_key={key: control_pb2.FilterValues(values=[value])})

    page = await listed(page_size=2)
    assert [item.service.spec.annotations.name for item in page.services] == ["a", "b"]
    assert (page.services[0].running_tasks, page.services[0].desired_tasks) == (1, 2)
    rest = await listed(page_size=2, page_token=page.next_page_token)
    assert [item.service.spec.annotations.name for item in rest.services] == ["c"]
    assert rest.next_page_token == ""
    assert len((await listed(filters=chosen("label", "first=True"))).services) == 1
    assert len((await listed(filters=chosen("mode", "global"))).services) == 0
    assert len((await listed(filters=chosen("mode", "replicated"))).services) == 3
    assert (await refused(listed(filters=chosen("colour", "red")))).reason == "FILTER_INVALID"
    assert (await refused(listed(page_token="!"))).reason == "PAGE_TOKEN_INVALID"


async def test_reads_say_when_they_may_be_old(at: Desk) -> None:
    await create(at, spec())
    at.seat.leadership.place = None
    assert (await get(at, "web")).stale
    refusal = await refused(get(at, "web", consistency=control_pb2.CONSISTENCY_LINEARIZABLE))
    assert refusal.reason == "NO_LEADER"


async def test_writes_need_the_leader(at: Desk) -> None:
    at.seat.leadership.place = NodePlace(node_id="m2", address="10.0.0.2:2377")
    assert (await refused(create(at, spec()))).reason == "NOT_LEADER"
    at.seat.leadership.place = None
    assert (await refused(create(at, spec()))).reason == "NO_LEADER"


async def test_a_write_that_raft_does_not_take_fails(at: Desk) -> None:
    at.seat.log.failure = errors.Unavailable("quorum lost", reason="NO_LEADER")
    assert (await refused(create(at, spec()))).reason == "NO_LEADER"


async def test_defaults_are_shown_if_asked(at: Desk) -> None:
    await create(at, spec())
    shown = (await get(at, "web", insert_defaults=True)).service.service.spec
    assert shown.update.parallelism == 1
    assert not (await get(at, "web")).service.service.spec.HasField("update")
