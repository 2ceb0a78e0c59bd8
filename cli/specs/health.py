"""--health-* and --no-healthcheck of `run` and `create`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import spec_pb2 as pb
from cli.specs import limits, values

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIONS = {
    "none": pb.HEALTH_ACTION_NONE,
    "restart": pb.HEALTH_ACTION_RESTART,
    "kill": pb.HEALTH_ACTION_KILL,
    "stop": pb.HEALTH_ACTION_STOP,
}
_DURATIONS = ("interval", "timeout", "start_period", "start_interval")


def build(given: Mapping[str, Any]) -> pb.HealthCheck | None:
    """Make the health check, None to leave it to the image.

    Raises:
        errors.Invalid: A value is malformed or negative, or the options contradict each other.
    """
    texts = {field: given[f"health_{field}"] for field in _DURATIONS}
    asked = any((given["health_cmd"], given["health_retries"], given["health_on_failure"], *texts.values()))
    if given["no_healthcheck"]:
        if asked:
            raise values.invalid("--no-healthcheck conflicts with --health-* options")
        return pb.HealthCheck(test=["NONE"])
    if not asked:
        return None
    check = pb.HealthCheck()
    if given["health_cmd"]:
        check.test.extend(["CMD-SHELL", given["health_cmd"]])
    for field, text in texts.items():
        if text:
            setattr(
                check,
                f"{field}_ms",
                values.positive_milliseconds(text, f"--health-{field.replace('_', '-')}"),
            )
    if given["health_retries"] is not None:
        check.retries = limits.within(given["health_retries"], "--health-retries", 0, values.UINT32_MAX)
    if given["health_on_failure"]:
        if given["health_on_failure"] not in ACTIONS:
            raise values.invalid(
                f"--health-on-failure {given['health_on_failure']!r}: use {', '.join(ACTIONS)}"
            )
        check.on_failure = ACTIONS[given["health_on_failure"]]
    return check
