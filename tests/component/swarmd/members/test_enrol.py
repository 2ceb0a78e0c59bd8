"""A machine becomes a member, or is told why not: real TLS, real sockets."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.ca import authority, certificates, keys, tokens
from services.swarmd.ca.certificates import Holder
from services.swarmd.gateway.tls import NodeTls, anonymous_credentials
from services.swarmd.identity import Credentials
from services.swarmd.members import cluster, enrol
from services.swarmd.store import tables
from tests.component.swarmd.members.manager import NOW, LoneManager, lone_manager

ACTIVE = objects_pb2.NODE_AVAILABILITY_ACTIVE
HOST = f"127.{os.getpid() >> 8 & 127 | 64}.{os.getpid() & 255}.2"
OTHER = HOST[:-1] + "3"


@pytest.fixture
async def manager() -> AsyncIterator[LoneManager]:
    async with lone_manager(HOST) as running:
        yield running


@pytest.mark.parametrize("address", [HOST, f"{HOST}:2377", f"{HOST}:2378"])
async def test_a_worker_comes_in_by_either_address(manager: LoneManager, address: str) -> None:
    enrolment = await enrol.enrol([address], manager.tokens.worker, objects_pb2.NODE_AVAILABILITY_PAUSE)
    identity = enrolment.credentials.identity
    assert (identity.name, identity.holder) == (enrolment.node_id, Holder.WORKER)
    assert identity.cluster_id == enrolment.cluster_id == manager.swarm.id
    node = manager.nodes()[enrolment.node_id]
    assert node.spec.role == node.role == objects_pb2.NODE_ROLE_WORKER
    assert node.spec.availability == objects_pb2.NODE_AVAILABILITY_PAUSE
    assert [place.address for place in enrolment.managers] == [f"{HOST}:2377"]


async def test_the_token_decides_the_role(manager: LoneManager) -> None:
    enrolment = await enrol.enrol([HOST], manager.tokens.manager, ACTIVE)
    assert enrolment.role == objects_pb2.NODE_ROLE_MANAGER
    assert enrolment.credentials.identity.server_names == ("swarm-manager", enrolment.node_id, "swarm-ca")


async def test_a_request_that_is_repeated_makes_one_node(manager: LoneManager) -> None:
    key = keys.new()
    request = enrolment_pb2.IssueNodeCertificateRequest(
        csr_pem=keys.request(key), token=manager.tokens.worker, availability=ACTIVE
    )
    trust = anonymous_credentials(manager.credentials.trust_pem)
    async with client.channel_tls(f"{HOST}:2378", trust, "swarm-ca") as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        first = await stub.IssueNodeCertificate(request)
        second = await stub.IssueNodeCertificate(request)
    assert first.node_id == second.node_id == cluster.node_id_of(key.public_key())
    assert len(manager.nodes()) == 2


async def test_a_wrong_secret_makes_no_node(manager: LoneManager) -> None:
    digest = bytes.fromhex(manager.swarm.root_ca.digest)
    with pytest.raises(errors.PermissionDenied, match="mistyped or rotated") as refused:
        await enrol.enrol([HOST], str(tokens.new(digest)), ACTIVE)
    assert refused.value.reason == "TOKEN_INVALID"
    assert len(manager.nodes()) == 1


async def test_a_rotated_token_is_wrong(manager: LoneManager) -> None:
    old = manager.tokens.worker
    swarm = tables.copy_of(manager.swarm)
    swarm.root_ca.join_tokens.worker = str(tokens.new(bytes.fromhex(swarm.root_ca.digest)))
    await manager.store.update(lambda tx: tx.update(tables.CLUSTERS, swarm))
    with pytest.raises(errors.PermissionDenied):
        await enrol.enrol([HOST], old, ACTIVE)
    await enrol.enrol([HOST], manager.tokens.worker, ACTIVE)


async def test_the_token_of_another_swarm_is_recognised_before_it_is_sent(manager: LoneManager) -> None:
    foreign = str(tokens.new(authority.new(NOW).digest))
    asked: list[str] = []
    original = manager.store.update
    manager.store.update = lambda *args, **kwargs: (asked.append("update"), original(*args, **kwargs))[1]
    with pytest.raises(errors.PermissionDenied, match="another swarm") as refused:
        await enrol.enrol([HOST], foreign, ACTIVE)
    assert refused.value.reason == "TOKEN_OTHER_SWARM"
    assert not asked


async def test_what_is_no_token_is_refused_without_a_connection() -> None:
    with pytest.raises(errors.Invalid) as refused:
        await enrol.enrol(["127.0.0.1:1"], "SWMTKN-1-nonsense", ACTIVE)
    assert refused.value.reason == "TOKEN_INVALID"


async def test_nobody_at_the_address(manager: LoneManager) -> None:
    with pytest.raises(errors.Unavailable, match=rf"{OTHER}:2377") as refused:
        await enrol.enrol([OTHER], manager.tokens.worker, ACTIVE)
    assert refused.value.reason == "MANAGER_UNREACHABLE"


async def test_the_second_address_is_tried(manager: LoneManager) -> None:
    enrolment = await enrol.enrol([OTHER, HOST], manager.tokens.worker, ACTIVE)
    assert enrolment.through == f"{HOST}:2378"


async def test_a_worker_is_no_door(manager: LoneManager) -> None:
    """A listener with a worker's certificate is not asked any further."""
    worker = await enrol.enrol([HOST], manager.tokens.worker, ACTIVE)
    server = grpc.aio.server()
    tls = NodeTls(worker.credentials)
    port = server.add_secure_port(f"{OTHER}:0", tls.server_credentials(client_certificates=False))
    await server.start()
    try:
        with pytest.raises(errors.FailedPrecondition, match="not a manager"):
            await enrol.enrol([f"{OTHER}:{port}"], manager.tokens.worker, ACTIVE)
    finally:
        await server.stop(0)


async def test_without_a_leader_nobody_is_taken_in(manager: LoneManager) -> None:
    manager.leadership.update(leading=False, leader=None)
    with pytest.raises(errors.Unavailable, match="does not have a leader") as refused:
        await enrol.enrol([HOST], manager.tokens.worker, ACTIVE)
    assert refused.value.reason == "NO_LEADER"


async def test_a_member_renews_its_certificate_and_gets_its_present_role(manager: LoneManager) -> None:
    worker = await enrol.enrol([HOST], manager.tokens.worker, ACTIVE)
    node = tables.copy_of(manager.nodes()[worker.node_id])
    node.role = objects_pb2.NODE_ROLE_MANAGER
    await manager.store.update(lambda tx: tx.update(tables.NODES, node))
    response = await _renew(worker.credentials)
    assert certificates.identity_of_pem(response.certificate_pem).holder is Holder.MANAGER
    assert certificates.identity_of_pem(response.certificate_pem).name == worker.node_id


async def test_who_was_removed_renews_nothing(manager: LoneManager) -> None:
    worker = await enrol.enrol([HOST], manager.tokens.worker, ACTIVE)
    await manager.store.update(lambda tx: tx.remove(tables.NODES, worker.node_id))
    with pytest.raises(errors.NotFound) as refused:
        await _renew(worker.credentials)
    assert refused.value.reason == "NODE_REMOVED"

    swarm = tables.copy_of(manager.swarm)
    cluster.block(swarm, worker.node_id, NOW)
    await manager.store.update(lambda tx: tx.update(tables.CLUSTERS, swarm))
    with pytest.raises(errors.PermissionDenied) as blocked:
        await _renew(worker.credentials)
    assert blocked.value.reason == "NODE_REMOVED"


async def test_who_resigns_is_disconnected(manager: LoneManager) -> None:
    worker = await enrol.enrol([HOST], manager.tokens.worker, ACTIVE)
    async with _dial(worker.credentials) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        for _ in range(2):
            await stub.ResignMembership(enrolment_pb2.ResignMembershipRequest())
    assert manager.nodes()[worker.node_id].status.state == objects_pb2.NODE_STATE_DISCONNECTED


async def test_strangers_get_the_root_and_a_certificate_and_nothing_else(manager: LoneManager) -> None:
    trust = anonymous_credentials(manager.credentials.trust_pem)
    async with client.channel_tls(f"{HOST}:2378", trust, "swarm-ca") as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        root = await stub.GetRootCertificate(enrolment_pb2.GetRootCertificateRequest())
        assert root.certificate_pem == manager.credentials.trust_pem
        for path in (
            "EnrolmentService/RenewNodeCertificate",
            "NodeService/ListNodes",
            "RaftService/Exchange",
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(f"/beeyard.swarm.v1.{path}")(b"")
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_blocked_certificates_are_forgotten_when_they_have_expired() -> None:
    swarm = objects_pb2.Cluster(id="c")
    cluster.block(swarm, "n1", NOW)
    cluster.block(swarm, "n2", NOW + timedelta(days=80))
    assert set(swarm.blocked_certificates) == {"n1", "n2"}
    cluster.block(swarm, "n3", NOW + timedelta(days=91))
    assert set(swarm.blocked_certificates) == {"n2", "n3"}


async def _renew(credentials: Credentials) -> enrolment_pb2.RenewNodeCertificateResponse:
    async with _dial(credentials) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        request = enrolment_pb2.RenewNodeCertificateRequest(csr_pem=keys.request(keys.new()))
        return await client.call(stub.RenewNodeCertificate(request, timeout=10))


def _dial(credentials: Credentials) -> grpc.aio.Channel:
    return client.channel_tls(f"{HOST}:2377", NodeTls(credentials).channel_credentials(), "swarm-manager")
