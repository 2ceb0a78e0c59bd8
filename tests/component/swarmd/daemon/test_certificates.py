"""Certificates of whole nodes: clients get one, members renew theirs, a manager that slept too long helps itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc.aio
import pytest

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, enrolment_pb2, enrolment_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.ca import authority, certificates, keys
from services.swarmd.ca.authority import Authority
from services.swarmd.identity import Credentials, IdentityStore
from tests.component.swarmd.daemon.swarm import (
    MANAGER,
    Swarm,
    SwarmNode,
    is_ready,
    leader_of,
    until,
)


@pytest.fixture
def roots(monkeypatch: pytest.MonkeyPatch) -> list[Authority]:
    """The authorities of the swarms that the test founds: their keys leave no manager."""
    made: list[Authority] = []
    original = authority.new

    def new(now: datetime) -> Authority:
        made.append(original(now))
        return made[-1]

    monkeypatch.setattr(authority, "new", new)
    return made


async def _client_certificate(node: SwarmNode, **wishes: int) -> Credentials:
    key = keys.new()
    request = control_pb2.IssueClientCertificateRequest(name="ops", csr_pem=keys.request(key), **wishes)
    response = await client.call(node.cluster.IssueClientCertificate(request))
    return Credentials(
        trust_pem=response.root_pem, certificate_pem=response.certificate_pem, key_pem=keys.to_pem(key)
    )


@contextlib.asynccontextmanager
async def _dial(node: SwarmNode, own: Credentials) -> AsyncIterator[grpc.aio.Channel]:
    credentials = grpc.ssl_channel_credentials(own.trust_pem, own.key_pem, own.certificate_pem)
    async with client.channel_tls(node.address, credentials, "swarm-manager") as channel:
        yield channel


async def test_a_client_works_through_any_manager(fleet: Swarm) -> None:
    m1, m2 = await fleet.found(2, 0)
    own = await _client_certificate(m2)  # the leader signs
    life = own.identity.not_after - datetime.now(UTC)
    assert timedelta(hours=23) < life <= timedelta(hours=24)
    for manager in (m1, m2):
        async with _dial(manager, own) as channel:
            nodes = control_pb2_grpc.NodeServiceStub(channel)
            answer = await client.call(nodes.ListNodes(control_pb2.ListNodesRequest()))
            assert len(answer.nodes) == 2
            assert answer.self_node_id == (await manager.state()).node_id
            swarm = control_pb2_grpc.ClusterServiceStub(channel)
            with pytest.raises(errors.PermissionDenied):
                await client.call(swarm.LeaveSwarm(control_pb2.LeaveSwarmRequest(force=True)))
            raft = enrolment_pb2_grpc.MembershipServiceStub(channel)
            with pytest.raises(errors.PermissionDenied):
                await client.call(raft.LeaveRaft(enrolment_pb2.LeaveRaftRequest()))


async def test_a_client_certificate_has_limits(fleet: Swarm) -> None:
    (m1,) = await fleet.found(1, 0)
    with pytest.raises(errors.Invalid):
        await _client_certificate(m1, expiry_ms=366 * 86_400_000)
    request = control_pb2.IssueClientCertificateRequest(name="ops", csr_pem=b"x")
    with pytest.raises(errors.Invalid) as refused:
        await client.call(m1.cluster.IssueClientCertificate(request))
    assert refused.value.reason == "CSR_INVALID"


async def test_a_member_renews_when_it_is_time(fleet: Swarm, roots: list[Authority]) -> None:
    """The certificate on disk is replaced by one that is nearly due: after the restart it is renewed at once."""
    m1, w1 = await fleet.found(1, 1)
    await w1.stop()
    old = _reissue(roots[0], w1, timedelta(hours=-80 * 24), timedelta(hours=10))
    await w1.start()

    async def renewed() -> bool:
        return _on_disk(w1).not_after > old.identity.not_after

    await until(renewed)
    assert _on_disk(w1).name == old.identity.name
    await until(lambda: is_ready(m1, w1))


async def test_a_manager_whose_certificate_has_expired_signs_its_own(
    fleet: Swarm, roots: list[Authority]
) -> None:
    m1, w1 = await fleet.found(1, 1)
    await m1.stop()
    _reissue(roots[0], m1, timedelta(days=-90), timedelta(hours=-1))
    await m1.start()

    async def valid() -> bool:
        return _on_disk(m1).not_after > datetime.now(UTC)

    await until(valid)
    await until(lambda: is_ready(m1, m1))
    await until(lambda: is_ready(m1, w1))
    assert (await m1.state()).role == MANAGER
    assert await leader_of([m1]) is m1


def _on_disk(node: SwarmNode) -> certificates.Identity:
    """Look at the certificate only: to load all would finish a replacement that is under way."""
    return certificates.identity_of_pem((node.root / "swarmd" / "certificates" / "node.crt").read_bytes())


def _reissue(root: Authority, node: SwarmNode, begins: timedelta, ends: timedelta) -> Credentials:
    """Give a node that is stopped a certificate with another validity."""
    identity = IdentityStore(node.root / "swarmd")
    present, key = identity.load_credentials(), keys.new()
    now = datetime.now(UTC)
    pem = root.sign_node(
        key.public_key(),
        node_id=present.identity.name,
        manager=present.identity.holder is certificates.Holder.MANAGER,
        cluster_id=present.identity.cluster_id,
        now=now + begins,
        life=ends - begins,
    )
    credentials = Credentials(trust_pem=present.trust_pem, certificate_pem=pem, key_pem=keys.to_pem(key))
    identity.save_credentials(credentials)
    return credentials
