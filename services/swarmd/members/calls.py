"""Calls that only the leader answers, made by any node of the swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from services.kit import backoff, errors
from services.kit.rpc import client
from services.swarmd.gateway.ports import LEADER_ADDRESS, LEADER_NODE_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc.aio

    from services.kit.seams import Clock, Rng
    from services.swarmd.gateway.ports import ManagerDialer

T = TypeVar("T")

ATTEMPTS_MAX: Final = 8
RETRY_BASE_S: Final = 0.1
RETRY_MAX_S: Final = 1.0
NOT_LEADING: Final = frozenset({"NOT_LEADER", "NO_LEADER", "NOT_A_MANAGER", "NOT_READY"})


async def call_leader(
    managers: ManagerDialer,
    make_call: Callable[[grpc.aio.Channel], Awaitable[T]],
    *,
    clock: Clock,
    rng: Rng,
    attempts_max: int = ATTEMPTS_MAX,
) -> T:
    """Return the leader's answer, going from manager to manager until the leader is found.

    Args:
        managers: Finds managers.
        make_call: Begins the call, which must be idempotent, with a deadline of its own.
        clock: For the pauses.
        rng: For the pauses.
        attempts_max: How many managers are asked.

    Raises:
        errors.BeeyardError: What the leader raised; or the last failure to find it.
    """
    failure: errors.BeeyardError = errors.Unavailable("no manager was asked", reason="NO_MANAGER")
    for attempt in range(attempts_max):
        if attempt:
            delay_s = backoff.delay(attempt - 1, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, rng=rng)
            await clock.sleep(delay_s)
        connection = await managers.connect()
        try:
            return await client.call(make_call(connection.channel))
        except errors.BeeyardError as exc:
            if exc.reason in NOT_LEADING:
                managers.leader_hint(
                    exc.metadata.get(LEADER_ADDRESS, ""), exc.metadata.get(LEADER_NODE_ID, "")
                )
            elif isinstance(exc, errors.Unavailable):
                managers.failed(connection)
            else:
                raise
            failure = exc
    raise failure
