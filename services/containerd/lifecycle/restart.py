"""Whether and when a container that ended is started again (`--restart`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from services.containerd.model.spec import RestartMode

if TYPE_CHECKING:
    from services.containerd.model.spec import RestartPolicy

DELAY_FIRST_S = 0.1
DELAY_MAX_S = 60.0
STABLE_AFTER_S = 10.0
"""A run as long as this starts the delays over."""


def wanted(policy: RestartPolicy, *, exit_code: int, restart_count: int, unhealthy: bool = False) -> bool:
    """Return whether a container starts again that ended by itself, not stopped by a user.

    `unhealthy`: it was stopped to be restarted because its health check failed. That is a failure whatever its exit
    code, and needs no policy; the number of tries of on-failure bounds it.
    """
    match policy.mode:
        case RestartMode.NO:
            return unhealthy
        case RestartMode.ON_FAILURE:
            return (exit_code != 0 or unhealthy) and (
                policy.retries_max == 0 or restart_count < policy.retries_max
            )
        case RestartMode.ALWAYS | RestartMode.UNLESS_STOPPED:
            return True
        case _:
            assert_never(policy.mode)


def wanted_at_boot(
    policy: RestartPolicy, *, stopped_by_user: bool, exit_code: int, restart_count: int
) -> bool:
    """Return whether a container that was not running when the machine went down is started with the machine."""
    if policy.mode is RestartMode.ALWAYS:
        return True
    return not stopped_by_user and wanted(policy, exit_code=exit_code, restart_count=restart_count)


def delay_s(previous_s: float, *, uptime_s: float) -> float:
    """Return the delay before the next start: it doubles while the container keeps failing at once."""
    if uptime_s >= STABLE_AFTER_S or previous_s <= 0:
        return DELAY_FIRST_S
    return min(previous_s * 2, DELAY_MAX_S)
