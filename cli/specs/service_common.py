"""What `service create` and `service update` put into a ServiceSpec alike. Options not given change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as swarm
from cli.specs import health, limits, values
from cli.specs.service_fields import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.container.v1 import spec_pb2 as container

ORDERS = {"start-first": swarm.UPDATE_ORDER_START_FIRST, "stop-first": swarm.UPDATE_ORDER_STOP_FIRST}
CONDITIONS = {
    "none": swarm.TASK_RESTART_CONDITION_NONE,
    "on-failure": swarm.TASK_RESTART_CONDITION_ON_FAILURE,
    "any": swarm.TASK_RESTART_CONDITION_ANY,
}
ENDPOINT_MODES = {"vip": swarm.ENDPOINT_MODE_VIP, "dnsrr": swarm.ENDPOINT_MODE_DNSRR}
_FAILURE_ACTIONS = {
    "pause": swarm.UPDATE_FAILURE_ACTION_PAUSE,
    "continue": swarm.UPDATE_FAILURE_ACTION_CONTINUE,
    "rollback": swarm.UPDATE_FAILURE_ACTION_ROLLBACK,
}


def count(replicas: int) -> int:
    """Return a number of tasks.

    Raises:
        errors.Invalid: It is negative, or more than the protocol can say.
    """
    if not 0 <= replicas <= values.INT64_MAX:
        raise values.invalid(f"--replicas {replicas}: give 0 or more")
    return replicas


def apply_common(spec: swarm.ServiceSpec, given: Mapping[str, Any]) -> None:
    """Put the options that create and update share into a spec; those not given change nothing."""
    _apply_process(spec.task.container, given)
    _apply_limits(spec.task, given)
    _apply_health(spec.task.container, given)
    _apply_restart(spec.task, given)
    _apply_update(spec.update, "update", given)
    _apply_update(spec.rollback, "rollback", given)
    if given["update_progress_deadline"]:
        spec.update.progress_deadline_ms = values.positive_milliseconds(
            given["update_progress_deadline"], "--update-progress-deadline"
        )
    if given["endpoint_mode"]:
        spec.endpoint.mode = ENDPOINT_MODES[given["endpoint_mode"]]
    if given["replicas_max_per_node"] is not None:
        spec.task.placement.max_replicas_per_node = given["replicas_max_per_node"]


def _apply_process(run: container.ContainerSpec, given: Mapping[str, Any]) -> None:
    if given["entrypoint"] is not None:
        del run.entrypoint[:]
        run.entrypoint.extend(words(given["entrypoint"], "--entrypoint"))
        run.clear_entrypoint = not run.entrypoint
    for field, option in (("user", "user"), ("working_dir", "workdir"), ("stop_signal", "stop_signal")):
        if given[option] is not None:
            setattr(run, field, given[option])
    for field in ("tty", "init"):
        if given[field] is not None:
            setattr(run, field, given[field])
    if given["hostname"] is not None:
        run.network.hostname = given["hostname"]
    if given["read_only"] is not None:
        run.security.read_only_root = given["read_only"]
    if given["stop_grace_period"]:
        run.stop_grace_ms = values.positive_milliseconds(given["stop_grace_period"], "--stop-grace-period")
    if given["log_driver"]:
        run.log.driver = given["log_driver"]
    run.log.options.update(values.mapping(given["log_opt"], "--log-opt"))


def _apply_limits(task: swarm.TaskSpec, given: Mapping[str, Any]) -> None:
    resources = task.container.resources
    if given["limit_cpu"]:
        resources.nano_cpus = values.nano_cpus(given["limit_cpu"], "--limit-cpu")
    if given["limit_memory"]:
        resources.memory_bytes = limits.size(given["limit_memory"], "--limit-memory")
    if given["limit_pids"] is not None:
        resources.pids_limit = limits.within(given["limit_pids"], "--limit-pids", -1, values.INT64_MAX)
    if given["memory_swap"]:
        resources.memory_swap_bytes = (
            -1 if given["memory_swap"] == "-1" else limits.size(given["memory_swap"], "--memory-swap")
        )
    if given["memory_swappiness"] is not None and given["memory_swappiness"] >= 0:
        resources.memory_swappiness = given["memory_swappiness"]
    if given["oom_score_adj"] is not None:
        resources.oom_score_adj = given["oom_score_adj"]
    if given["reserve_cpu"]:
        task.reservations.nano_cpus = values.nano_cpus(given["reserve_cpu"], "--reserve-cpu")
    if given["reserve_memory"]:
        task.reservations.memory_bytes = limits.size(given["reserve_memory"], "--reserve-memory")


def _apply_health(run: container.ContainerSpec, given: Mapping[str, Any]) -> None:
    if given["no_healthcheck"]:
        if given["health_cmd"]:
            raise values.invalid("--no-healthcheck conflicts with --health-* options")
        run.health.Clear()
        run.health.test.append("NONE")
        return
    if given["health_cmd"]:
        del run.health.test[:]
        run.health.test.extend(["CMD-SHELL", given["health_cmd"]])
    for field in ("interval", "timeout", "start_period", "start_interval"):
        if given[f"health_{field}"]:
            setattr(
                run.health,
                f"{field}_ms",
                values.positive_milliseconds(given[f"health_{field}"], f"--health-{field.replace('_', '-')}"),
            )
    if given["health_retries"] is not None:
        run.health.retries = given["health_retries"]
    if given["health_on_failure"]:
        run.health.on_failure = health.ACTIONS[given["health_on_failure"]]


def _apply_restart(task: swarm.TaskSpec, given: Mapping[str, Any]) -> None:
    if given["restart_condition"]:
        task.restart.condition = CONDITIONS[given["restart_condition"]]
    if given["restart_delay"]:
        task.restart.delay_ms = values.positive_milliseconds(given["restart_delay"], "--restart-delay")
    if given["restart_max_attempts"] is not None:
        task.restart.max_attempts = given["restart_max_attempts"]
    if given["restart_window"]:
        task.restart.window_ms = values.positive_milliseconds(given["restart_window"], "--restart-window")
    if given["restart_backoff_max"]:
        task.restart.backoff_max_ms = values.positive_milliseconds(
            given["restart_backoff_max"], "--restart-backoff-max"
        )


def _apply_update(config: swarm.UpdateConfig, kind: str, given: Mapping[str, Any]) -> None:
    if given[f"{kind}_parallelism"] is not None:
        config.parallelism = given[f"{kind}_parallelism"]
    if given[f"{kind}_delay"]:
        config.delay_ms = values.positive_milliseconds(given[f"{kind}_delay"], f"--{kind}-delay")
    if given[f"{kind}_monitor"]:
        config.monitor_ms = values.positive_milliseconds(given[f"{kind}_monitor"], f"--{kind}-monitor")
    if given[f"{kind}_failure_action"]:
        config.failure_action = _FAILURE_ACTIONS[given[f"{kind}_failure_action"]]
    if given[f"{kind}_max_failure_ratio"] is not None:
        config.max_failure_ratio = given[f"{kind}_max_failure_ratio"]
    if given[f"{kind}_order"]:
        config.order = ORDERS[given[f"{kind}_order"]]
