"""What a health check's results mean, and when it runs again. Pure; Docker's rules.

    starting ── passes ──> healthy <── passes ──┐
       │                      │                 │
       └──── fails `retries` times in a row ──> unhealthy

While it is starting, failures of the start period do not count: a slow start is no illness. The first check comes one
interval after the start, the next one interval after the last has ended; in the start period, until the first success,
the shorter start interval holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from services.containerd.model.durations import bounded
from services.containerd.model.spec import HealthAction
from services.containerd.model.status import Health, HealthState
from services.containerd.ocispec import resolve

if TYPE_CHECKING:
    from services.containerd.model.image import ImageConfig
    from services.containerd.model.spec import ContainerSpec
    from services.containerd.model.status import ProbeResult

INTERVAL_DEFAULT_S = 30.0
TIMEOUT_DEFAULT_S = 30.0
START_INTERVAL_DEFAULT_S = 5.0
RETRIES_DEFAULT = 3
LOG_MAX = 5
OUTPUT_BYTES_MAX = 4096
SAID_CHARS_MAX = 200
_CUT = "..."
_SHELL_DEFAULT = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A health check in force: nothing is left to defaults."""

    argv: tuple[str, ...]
    interval_s: float = INTERVAL_DEFAULT_S
    timeout_s: float = TIMEOUT_DEFAULT_S
    start_period_s: float = 0.0
    start_interval_s: float = START_INTERVAL_DEFAULT_S
    retries: int = RETRIES_DEFAULT
    on_failure: HealthAction = HealthAction.NONE


def check_of(spec: ContainerSpec, image: ImageConfig) -> Check | None:
    """Return a container's check, None if it has none."""
    asked = resolve.health(spec, image)
    if asked is None or len(asked.test) < 2:
        return None
    kind, *words = asked.test
    if kind not in ("CMD", "CMD-SHELL"):
        return None  # of an image: `model.check` refuses it in a specification
    shell = (image.shell or _SHELL_DEFAULT) if kind == "CMD-SHELL" else ()
    return Check(
        argv=(*shell, *words),
        interval_s=bounded(asked.interval_s) or INTERVAL_DEFAULT_S,
        timeout_s=bounded(asked.timeout_s) or TIMEOUT_DEFAULT_S,
        start_period_s=bounded(asked.start_period_s),
        start_interval_s=bounded(asked.start_interval_s) or START_INTERVAL_DEFAULT_S,
        retries=asked.retries or RETRIES_DEFAULT,
        on_failure=asked.on_failure,
    )


def delay_s(check: Check, health: Health, *, started_at: datetime, now: datetime) -> float:
    """Return how long after `now`, the start of the container or the end of a check, the next check begins."""
    in_start_period = now - started_at < timedelta(seconds=check.start_period_s)
    if in_start_period and health.state is HealthState.STARTING:
        return check.start_interval_s
    return check.interval_s


def remaining_s(check: Check, health: Health, *, started_at: datetime, now: datetime) -> float:
    """Return when the next check is due after a time in which nobody looked: at once if it would have been already."""
    last = health.log[-1].ended_at if health.log else started_at
    since = min(max(last, started_at), now)
    due = since + timedelta(seconds=delay_s(check, health, started_at=started_at, now=since))
    return max((due - now).total_seconds(), 0.0)


def judge(check: Check, health: Health, result: ProbeResult, *, started_at: datetime) -> Health:
    """Return the health after one more result."""
    log = (*health.log, result)[-LOG_MAX:]
    if result.exit_code == 0:
        return Health(state=HealthState.HEALTHY, log=log)
    in_start_period = result.started_at - started_at < timedelta(seconds=check.start_period_s)
    if in_start_period and health.state is HealthState.STARTING:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    state = HealthState.UNHEALTHY if streak >= check.retries else health.state
    return Health(state=state, failing_streak=streak, log=log)


def begun(before: Health | None) -> Health:
    """Return the health of a new run."""
    return Health(log=before.log if before is not None else ())


def ended(health: Health | None) -> Health | None:
    """Return the health of a run that has ended: what does not run is not healthy."""
    return None if health is None else replace(health, state=HealthState.UNHEALTHY)


def said(health: Health | None) -> str:
    """Return why the container is to be stopped: in one line, with what the last failed check wrote."""
    failed = [result for result in health.log if result.exit_code != 0] if health is not None else []
    words = " ".join(failed[-1].output.split())[:SAID_CHARS_MAX] if failed else ""
    return f"unhealthy container: {words}" if words else "unhealthy container"


def cut(output: bytes) -> str:
    """Return an output as it is kept: bounded, and readable whatever it holds."""
    if len(output) <= OUTPUT_BYTES_MAX:
        text, mark = output.decode(errors="replace"), ""
    else:
        text, mark = output[:OUTPUT_BYTES_MAX].decode(errors="replace"), _CUT
    while len((text + mark).encode()) > OUTPUT_BYTES_MAX:  # U+FFFD takes more bytes than what it replaces
        text = text.encode()[: OUTPUT_BYTES_MAX - len(mark)].decode(errors="ignore")
        mark = _CUT
    return text + mark
