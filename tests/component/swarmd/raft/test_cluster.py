"""Members over real disks, real mTLS and real gRPC."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.kit import errors
from services.kit.rpc import client
from services.swarmd.raft.core.membership import Member
from services.swarmd.raft.core.types import Role
from services.swarmd.raft.shell.storage import force_new_cluster
from tests.component.swarmd.raft.cluster import QUICK, Cluster, Manager, eventually

pytestmark = pytest.mark.slow
TIMEOUT_S = 20.0


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as made:
        yield made


async def propose(cluster: Cluster, text: str) -> int:
    """Propose wherever the leader is, until it is certain."""
    while True:
        leader = await cluster.leader()
        try:
            return await leader.node.propose(text.encode(), TIMEOUT_S)
        except errors.Unavailable as error:
            if error.metadata.get("outcome") == "unknown":
                raise
            await asyncio.sleep(0.02)


async def all_have(cluster: Cluster, *texts: str) -> None:
    await eventually(
        lambda: all(manager.journal.commands == list(texts) for manager in cluster.alive) or None
    )


async def test_what_is_proposed_is_applied_everywhere(cluster: Cluster) -> None:
    first = await propose(cluster, "a")
    second = await propose(cluster, "b")
    assert second > first
    await all_have(cluster, "a", "b")


async def test_the_result_of_the_state_machine_comes_back(cluster: Cluster) -> None:
    leader = await cluster.leader()
    assert [(await leader.node.execute(b"x", TIMEOUT_S)).result for _ in range(3)] == [1, 2, 3]


async def test_followers_say_who_leads(cluster: Cluster) -> None:
    leader = await cluster.leader()
    follower = next(manager for manager in cluster.alive if manager is not leader)
    with pytest.raises(errors.Unavailable) as caught:
        await follower.node.propose(b"x", TIMEOUT_S)
    assert caught.value.reason == "NOT_LEADER"
    assert caught.value.metadata == {
        "leader_id": str(leader.member.id),
        "leader_node_id": leader.member.node_id,
        "leader_address": leader.member.address,
    }


async def test_reads_are_fresh_on_every_member(cluster: Cluster) -> None:
    for number in range(10):
        await propose(cluster, str(number))
        for manager in cluster.alive:
            await manager.node.read_barrier(TIMEOUT_S)
            assert manager.journal.commands[-1] == str(number)


async def test_a_killed_leader_is_replaced_and_comes_back(cluster: Cluster) -> None:
    await propose(cluster, "a")
    old = await cluster.leader()
    await old.kill()
    await propose(cluster, "b")
    new = await cluster.leader()
    assert new is not old
    await old.start()
    await all_have(cluster, "a", "b")


async def test_everything_survives_the_death_of_all(cluster: Cluster) -> None:
    for text in "abc":
        await propose(cluster, text)
    for manager in cluster.alive:
        await manager.kill()
    for manager in cluster.managers.values():
        await manager.start()
    await propose(cluster, "d")
    await all_have(cluster, "a", "b", "c", "d")


async def test_without_a_majority_writes_and_reads_fail_soon(cluster: Cluster) -> None:
    leader = await cluster.leader()
    for manager in cluster.alive:
        if manager is not leader:
            await manager.kill()
    with pytest.raises(errors.Unavailable) as caught:
        await leader.node.propose(b"x", TIMEOUT_S)
    assert caught.value.reason == "LEADERSHIP_LOST"
    assert caught.value.metadata["outcome"] == "unknown"
    assert leader.node.leader_id == 0
    for call in (leader.node.propose(b"y", TIMEOUT_S), leader.node.read_barrier(TIMEOUT_S)):
        with pytest.raises(errors.Unavailable) as caught:
            await call
        assert caught.value.reason == "NO_LEADER"
    for manager in cluster.managers.values():
        if not manager.running:
            await manager.start()
    await propose(cluster, "z")


async def test_a_member_far_behind_gets_a_snapshot(cluster: Cluster) -> None:
    leader = await cluster.leader()
    slow = next(manager for manager in cluster.alive if manager is not leader)
    await slow.kill()
    texts = [str(number) for number in range(3 * QUICK.snapshot_entries)]
    for text in texts:
        await propose(cluster, text)
    await eventually(lambda: leader.node.status().first_index > QUICK.snapshot_entries or None)
    await slow.start()
    await all_have(cluster, *texts)
    assert slow.node.status().first_index > QUICK.snapshot_entries


async def test_a_snapshot_larger_than_a_message_arrives(cluster: Cluster) -> None:
    leader = await cluster.leader()
    slow = next(manager for manager in cluster.alive if manager is not leader)
    await slow.kill()
    texts = [f"{number}{'x' * 100_000}" for number in range(QUICK.snapshot_entries + 20)]
    await asyncio.gather(*(leader.node.propose(text.encode(), TIMEOUT_S) for text in texts))
    await eventually(lambda: leader.node.status().first_index > 20 or None)
    await slow.start()
    await eventually(lambda: len(slow.journal.commands) == len(texts) or None)
    assert sorted(slow.journal.commands) == sorted(texts)


async def test_members_come_and_go(cluster: Cluster) -> None:
    await propose(cluster, "a")
    newcomer = await cluster.newcomer()
    leader = await cluster.leader()
    await leader.node.add_member(newcomer.member, TIMEOUT_S)
    await leader.node.promote(newcomer.member.id, TIMEOUT_S)
    await all_have(cluster, "a")
    assert leader.node.members.voters == (1, 2, 3, 4)
    gone = next(manager for manager in cluster.alive if manager not in (leader, newcomer))
    await leader.node.remove_member(gone.member.id, TIMEOUT_S)
    await eventually(lambda: gone.node.leadership().removed or None)
    await gone.stop()
    await propose(cluster, "b")
    await all_have(cluster, "a", "b")


async def test_a_member_that_slept_through_its_removal_is_told(cluster: Cluster) -> None:
    leader = await cluster.leader()
    gone = next(manager for manager in cluster.alive if manager is not leader)
    await gone.kill()
    await leader.node.remove_member(gone.member.id, TIMEOUT_S)
    for number in range(2 * QUICK.settings.election_ticks_max + 5):
        await propose(cluster, str(number))
    await gone.start()
    await eventually(lambda: gone.node.leadership().removed or None)


async def test_a_leader_removes_itself(cluster: Cluster) -> None:
    old = await cluster.leader()
    await old.node.remove_member(old.member.id, TIMEOUT_S)
    await eventually(lambda: old.node.leadership().removed or None)
    await old.stop()
    await propose(cluster, "b")
    assert old.member.id not in (await cluster.leader()).node.members


async def test_a_removal_that_would_lose_the_majority_is_refused(cluster: Cluster) -> None:
    leader = await cluster.leader()
    dead, alive = (manager for manager in cluster.alive if manager is not leader)
    await dead.kill()
    await eventually(lambda: _silent_ticks(leader, dead) > QUICK.settings.election_ticks_min or None)
    for operation in (leader.node.remove_member, leader.node.demote):
        with pytest.raises(errors.FailedPrecondition) as caught:
            await operation(alive.member.id, TIMEOUT_S)
        assert caught.value.reason == "QUORUM_LOSS"
    await leader.node.remove_member(dead.member.id, TIMEOUT_S)


def _silent_ticks(leader: Manager, other: Manager) -> int:
    return next(peer.silent_ticks for peer in leader.node.status().peers if peer.id == other.member.id)


async def test_leadership_is_handed_over(cluster: Cluster) -> None:
    old = await cluster.leader()
    async with old.node.watch_leadership() as changes:
        leader_id = await old.node.transfer_leadership(timeout_s=TIMEOUT_S)
        assert leader_id != old.member.id
        seen = [await anext(changes)]
        while getattr(seen[-1], "leader_id", 0) != leader_id:
            seen.append(await anext(changes))
    assert (await cluster.leader()).member.id == leader_id
    assert old.node.role is Role.FOLLOWER


async def test_a_member_moves_to_another_address(cluster: Cluster) -> None:
    leader = await cluster.leader()
    moving = next(manager for manager in cluster.alive if manager is not leader)
    await moving.stop()
    moving.member = replace(moving.member, address=cluster.free_address())
    await moving.start()
    await leader.node.readdress(moving.member.id, moving.member.address, TIMEOUT_S)
    await propose(cluster, "a")
    await all_have(cluster, "a")


async def test_channels_that_are_closed_under_way_are_dialled_again(cluster: Cluster) -> None:
    await propose(cluster, "0")
    texts = ["0"]
    for number in range(1, 4):
        for manager in cluster.alive:
            await manager.renew_certificate()
        await propose(cluster, str(number))
        texts.append(str(number))
        await all_have(cluster, *texts)


async def test_a_cluster_of_one_grows(tmp_path: Path) -> None:
    async with Cluster(tmp_path, founders=1) as cluster:
        await propose(cluster, "a")
        for _ in range(2):
            newcomer = await cluster.newcomer()
            leader = await cluster.leader()
            await leader.node.add_member(newcomer.member, TIMEOUT_S)
            await leader.node.promote(newcomer.member.id, TIMEOUT_S)
        await all_have(cluster, "a")
        await (await cluster.leader()).kill()
        await propose(cluster, "b")


async def test_a_learner_that_does_not_catch_up_gets_no_vote(cluster: Cluster) -> None:
    leader = await cluster.leader()
    nobody = Member(id=99, node_id="nobody", address=cluster.free_address())
    await leader.node.add_member(nobody, TIMEOUT_S)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await leader.node.promote(99, 0.3)
    assert caught.value.reason == "NOT_CAUGHT_UP"


async def test_the_last_one_makes_a_new_cluster(cluster: Cluster) -> None:
    await propose(cluster, "a")
    await all_have(cluster, "a")
    for manager in cluster.alive:
        await manager.kill()
    last = cluster.managers[2]
    storage = force_new_cluster(last.disk(), last.keys, os.urandom)
    await last.start(storage)
    await propose(cluster, "b")
    assert last.journal.commands == ["a", "b"]
    assert last.node.members.voters == (2,)


async def test_a_change_that_is_too_large_is_refused(cluster: Cluster) -> None:
    leader = await cluster.leader()
    with pytest.raises(errors.Invalid) as caught:
        await leader.node.propose(bytes(QUICK.entry_bytes_max + 1), TIMEOUT_S)
    assert caught.value.reason == "ENTRY_TOO_LARGE"
    await leader.node.propose(b"x" * QUICK.entry_bytes_max, TIMEOUT_S)
    await eventually(lambda: all(len(manager.journal.commands) == 1 for manager in cluster.alive) or None)


async def test_nobody_speaks_for_another_node(cluster: Cluster) -> None:
    leader = await cluster.leader()
    victim = next(manager for manager in cluster.alive if manager is not leader)
    channel = client.channel_tls(
        victim.member.address, cluster.authority.client("node-9"), cluster.server_name
    )
    async with channel:
        with pytest.raises(errors.PermissionDenied) as caught:
            await cluster.send_vote_request(channel, sender=leader.member.id, to=victim.member.id)
    assert caught.value.reason == "WRONG_NODE"
    assert victim.node.term == leader.node.term


async def test_messages_for_another_member_are_refused(cluster: Cluster) -> None:
    leader = await cluster.leader()
    victim = next(manager for manager in cluster.alive if manager is not leader)
    credentials = cluster.authority.client(leader.member.node_id)
    async with client.channel_tls(victim.member.address, credentials, cluster.server_name) as channel:
        with pytest.raises(errors.FailedPrecondition) as caught:
            await cluster.send_vote_request(channel, sender=leader.member.id, to=77)
    assert caught.value.reason == "WRONG_MEMBER"


async def test_a_member_whose_disk_fails_ends(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    leader = await cluster.leader()

    def full(_name: str, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(leader.file_disk, "append", full)
    with pytest.raises(errors.Unavailable):
        await leader.node.propose(b"x", TIMEOUT_S)
    with pytest.raises(BaseExceptionGroup, match="critical tasks failed"):
        await leader.stop()
    monkeypatch.undo()
    await propose(cluster, "b")
    await leader.start()
    await eventually(lambda: leader.journal.commands[-1:] == ["b"] or None)


async def test_random_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with Cluster(tmp_path) as cluster:
        acknowledged: list[str] = []

        async def client_of_the_cluster(name: str) -> None:
            for number in range(25):
                text = f"{name}-{number}"
                while True:
                    leader = await cluster.leader()
                    try:
                        await leader.node.propose(text.encode(), TIMEOUT_S)
                    except errors.Unavailable:
                        await asyncio.sleep(0.02)
                        continue  # perhaps it is in twice: that is the client's affair
                    acknowledged.append(text)
                    break

        async def reaper() -> None:
            for _ in range(6):
                await asyncio.sleep(0.3)
                victim = rng.choice(cluster.alive)
                await victim.kill()
                await asyncio.sleep(rng.uniform(0, 0.4))
                await victim.start()

        await asyncio.gather(*(client_of_the_cluster(name) for name in "abc"), reaper())
        await propose(cluster, "end")
        await eventually(lambda: all(m.journal.commands[-1:] == ["end"] for m in cluster.alive) or None)
        journals = [manager.journal.commands for manager in cluster.alive]
        assert journals[0] == journals[1] == journals[2]
        assert set(acknowledged) <= set(journals[0])
        assert len(acknowledged) == 75


async def test_a_process_that_stood_still_starts_no_election(cluster: Cluster) -> None:
    leader = await cluster.leader()
    term = leader.node.term
    for _ in range(3):
        time.sleep(3 * QUICK.settings.election_ticks_max * QUICK.tick_ms / 1000)
        await asyncio.sleep(0.2)
    assert (await cluster.leader()) is leader
    assert leader.node.term == term
    assert leader.node.late_ticks > 0
