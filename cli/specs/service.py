"""The options of `service create` and `service update`, and the ServiceSpec that they make or change.

What both commands share is applied by `apply_common`; lists are given whole to create (`--env`) and changed by update
(`--env-add`, `--env-rm`).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, TypeVar

import click

from beeyard.container.v1 import spec_pb2 as container
from beeyard.swarm.v1 import objects_pb2 as swarm
from cli.specs import limits, mounts, ports, values
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableSequence

    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

F = TypeVar("F", bound="Callable[..., Any]")
Given = "Mapping[str, Any]"

_ORDERS = {"start-first": swarm.UPDATE_ORDER_START_FIRST, "stop-first": swarm.UPDATE_ORDER_STOP_FIRST}
_CONDITIONS = {
    "none": swarm.TASK_RESTART_CONDITION_NONE,
    "on-failure": swarm.TASK_RESTART_CONDITION_ON_FAILURE,
    "any": swarm.TASK_RESTART_CONDITION_ANY,
}
_FAILURE_ACTIONS = {
    "pause": swarm.UPDATE_FAILURE_ACTION_PAUSE,
    "continue": swarm.UPDATE_FAILURE_ACTION_CONTINUE,
    "rollback": swarm.UPDATE_FAILURE_ACTION_ROLLBACK,
}
_ENDPOINT_MODES = {"vip": swarm.ENDPOINT_MODE_VIP, "dnsrr": swarm.ENDPOINT_MODE_DNSRR}
_HEALTH_ACTIONS = {
    "none": container.HEALTH_ACTION_NONE,
    "restart": container.HEALTH_ACTION_RESTART,
    "kill": container.HEALTH_ACTION_KILL,
    "stop": container.HEALTH_ACTION_STOP,
}


# ------------------------------------------------------------------------------------------------ options


def common_options(function: F) -> F:
    """Options that create and update share."""
    for option in reversed(_common()):
        function = option(function)
    return function


def _update_options(kind: str) -> list[Callable[[Any], Any]]:
    actions = ["pause", "continue"] + (["rollback"] if kind == "update" else [])
    return [
        click.option(f"--{kind}-delay", metavar="duration", help=f"Delay between task {kind}s (0s)"),
        click.option(
            f"--{kind}-failure-action", type=click.Choice(actions), help=f"Action on {kind} failure (pause)"
        ),
        click.option(
            f"--{kind}-max-failure-ratio", type=click.FloatRange(0, 1), help="Failure rate to tolerate (0)"
        ),
        click.option(
            f"--{kind}-monitor", metavar="duration", help="How long to watch each task for failure (5s)"
        ),
        click.option(
            f"--{kind}-order", type=click.Choice(list(_ORDERS)), help="Which goes first (stop-first)"
        ),
        click.option(
            f"--{kind}-parallelism",
            type=click.IntRange(0),
            help="Tasks replaced at once, 0 for all at once (1)",
        ),
    ]


def _common() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--endpoint-mode",
            type=click.Choice(list(_ENDPOINT_MODES)),
            help="Endpoint mode (vip)",
        ),
        click.option("--entrypoint", metavar="command", help="Overwrite the default ENTRYPOINT of the image"),
        click.option("--health-cmd", metavar="string", help="Command to run to check health"),
        click.option("--health-interval", metavar="duration", help="Time between running the check"),
        click.option(
            "--health-on-failure", type=click.Choice(list(_HEALTH_ACTIONS)), help="Action when unhealthy"
        ),
        click.option("--health-retries", type=click.IntRange(0), help="Failures needed to report unhealthy"),
        click.option(
            "--health-start-interval", metavar="duration", help="Time between checks in the start period"
        ),
        click.option("--health-start-period", metavar="duration", help="Start period before failures count"),
        click.option("--health-timeout", metavar="duration", help="Maximum time to allow one check to run"),
        click.option("--no-healthcheck", is_flag=True, help="Disable any container-specified HEALTHCHECK"),
        click.option("--hostname", metavar="string", help="Container hostname"),
        click.option(
            "--init/--no-init", "init", default=None, help="Use an init inside each service container"
        ),
        click.option("--limit-cpu", metavar="decimal", help="Limit CPUs"),
        click.option("--limit-memory", metavar="bytes", help="Limit Memory"),
        click.option(
            "--limit-pids", type=int, help="Limit maximum number of processes (default 0 = unlimited)"
        ),
        click.option("--log-driver", metavar="string", help="Logging driver for service"),
        click.option("--log-opt", multiple=True, metavar="list", help="Logging driver options"),
        click.option("--memory-swap", metavar="bytes", help="Swap plus memory; -1 for unlimited swap"),
        click.option(
            "--memory-swappiness", type=click.IntRange(-1, 100), help="Tune memory swappiness (0 to 100)"
        ),
        click.option("--no-resolve-image", is_flag=True, help="Do not resolve the image to a digest"),
        click.option("--oom-score-adj", type=click.IntRange(-1000, 1000), help="Tune host's OOM preferences"),
        click.option(
            "--read-only/--no-read-only",
            "read_only",
            default=None,
            help="Read-only root filesystem",
        ),
        click.option("--replicas", type=int, metavar="uint", help="Number of tasks"),
        click.option(
            "--replicas-max-per-node", type=click.IntRange(0), help="Maximum number of tasks per node (0)"
        ),
        click.option("--reserve-cpu", metavar="decimal", help="Reserve CPUs"),
        click.option("--reserve-memory", metavar="bytes", help="Reserve Memory"),
        click.option(
            "--restart-condition", type=click.Choice(list(_CONDITIONS)), help="When to restart (any)"
        ),
        click.option("--restart-delay", metavar="duration", help="Delay between restart attempts (5s)"),
        click.option("--restart-max-attempts", type=click.IntRange(0), help="Maximum number of restarts"),
        click.option(
            "--restart-window", metavar="duration", help="Window used to evaluate the restart policy"
        ),
        click.option("--restart-backoff-max", metavar="duration", help="Let the delay double up to this"),
        click.option(
            "--stop-grace-period", metavar="duration", help="Time to wait before force killing (10s)"
        ),
        click.option("--stop-signal", metavar="string", help="Signal to stop the container"),
        click.option("-t", "--tty/--no-tty", "tty", default=None, help="Allocate a pseudo-TTY"),
        click.option(
            "-u", "--user", metavar="string", help="Username or UID (format: <name|uid>[:<group|gid>])"
        ),
        click.option("-w", "--workdir", metavar="string", help="Working directory inside the container"),
        *_update_options("update"),
        click.option(
            "--update-progress-deadline", metavar="duration", help="A task not running by then failed (10m)"
        ),
        *_update_options("rollback"),
        click.option(
            "--with-registry-auth", is_flag=True, help="Send registry authentication details to the nodes"
        ),
        click.option("-d", "--detach", is_flag=True, help="Exit immediately instead of waiting to converge"),
        click.option("-q", "--quiet", is_flag=True, help="Suppress progress output"),
    ]


def create_options(function: F) -> F:
    """Options of create alone."""
    for option in reversed(
        (
            click.option("--name", default="", metavar="string", help="Service name"),
            click.option(
                "--mode",
                default="replicated",
                type=click.Choice(["replicated", "global", "replicated-job", "global-job"]),
                help="Service mode",
            ),
            click.option("--max-concurrent", type=click.IntRange(0), help="Job tasks to run concurrently"),
            _many("--cap-add", "Add Linux capabilities"),
            _many("--cap-drop", "Drop Linux capabilities"),
            _many("--config", "Specify configurations to expose to the service"),
            _many("--constraint", "Placement constraints"),
            _many("--container-label", "Container labels"),
            _many("--dns", "Set custom DNS servers"),
            _many("--dns-option", "Set DNS options"),
            _many("--dns-search", "Set custom DNS search domains"),
            _many("--env", "Set environment variables", "-e"),
            _many("--env-file", "Read in a file of environment variables"),
            _many("--generic-resource", "User defined resources"),
            _many("--group", "Set one or more supplementary user groups"),
            _many("--host", "Set one or more custom host-to-IP mappings (host:ip)"),
            _many("--label", "Service labels", "-l"),
            _many("--mount", "Attach a filesystem mount to the service"),
            _many("--network", "Network attachments"),
            _many("--placement-pref", "Add a placement preference"),
            _many("--publish", "Publish a port as a node port", "-p"),
            _many("--secret", "Specify secrets to expose to the service"),
            _many("--sysctl", "Sysctl options"),
            _many("--ulimit", "Ulimit options"),
        )
    ):
        function = option(function)
    return function


_CHANGEABLE = {
    "cap": "a Linux capability",
    "config": "a configuration",
    "constraint": "a placement constraint",
    "container-label": "a container label",
    "dns": "a custom DNS server",
    "dns-option": "a DNS option",
    "dns-search": "a custom DNS search domain",
    "env": "an environment variable",
    "generic-resource": "a generic resource",
    "group": "a supplementary user group",
    "host": "a custom host-to-IP mapping (host:ip)",
    "label": "a service label",
    "mount": "a mount",
    "network": "a network",
    "placement-pref": "a placement preference",
    "publish": "a published port",
    "secret": "a secret",
    "sysctl": "a sysctl option",
    "ulimit": "a ulimit option",
}


def update_options(function: F) -> F:
    """Options of update alone."""
    options = [
        click.option("--args", "new_args", metavar="command", help="Service command args"),
        click.option("--image", metavar="string", help="Service image tag"),
        click.option("--force", is_flag=True, help="Force update even if no changes require it"),
        click.option("--max-concurrent", type=click.IntRange(0), help="Job tasks to run concurrently"),
        click.option("--rollback", is_flag=True, help="Rollback to previous specification"),
    ]
    for name, text in _CHANGEABLE.items():
        add, remove = ("add", "drop") if name == "cap" else ("add", "rm")
        options.append(_many(f"--{name}-{add}", f"Add or update {text}" if name != "cap" else f"Add {text}"))
        options.append(_many(f"--{name}-{remove}", f"Remove {text}" if name != "cap" else f"Drop {text}"))
    for option in reversed(options):
        function = option(function)
    return function


def _many(name: str, text: str, *short: str) -> Callable[[Any], Any]:
    return click.option(*short, name, multiple=True, metavar="list", help=text)


# ------------------------------------------------------------------------------------------------ building


def build(image: str, command: tuple[str, ...], given: Mapping[str, Any]) -> swarm.ServiceSpec:
    """Make the spec of a new service.

    Raises:
        errors.Invalid: An option is malformed.
    """
    spec = swarm.ServiceSpec()
    spec.annotations.name = given["name"]
    spec.annotations.labels.update(values.mapping(given["label"], "--label"))
    _set_mode(spec.mode, given)
    task, run = spec.task, spec.task.container
    run.image = image
    run.cmd.extend(command)
    run.env.extend(values.environment(given["env"], given["env_file"]))
    run.labels.update(values.mapping(given["container_label"], "--container-label"))
    run.groups.extend(given["group"])
    run.security.cap_add.extend(given["cap_add"])
    run.security.cap_drop.extend(given["cap_drop"])
    run.security.sysctls.update(values.mapping(given["sysctl"], "--sysctl"))
    run.network.dns.extend(given["dns"])
    run.network.dns_options.extend(given["dns_option"])
    run.network.dns_search.extend(given["dns_search"])
    run.network.extra_hosts.extend(given["host"])
    run.mounts.extend(mounts.parse_mount(text) for text in given["mount"])
    run.resources.ulimits.extend(limits.parse_ulimit(text) for text in given["ulimit"])
    task.placement.constraints.extend(given["constraint"])
    task.placement.spread_over.extend(_preference(text) for text in given["placement_pref"])
    task.networks.extend(_network(text) for text in given["network"])
    task.reservations.generic.update(_generic(given["generic_resource"]))
    task.secrets.extend(_file_reference(text, "--secret", "/run/secrets/") for text in given["secret"])
    task.configs.extend(_file_reference(text, "--config", "/") for text in given["config"])
    for text in given["publish"]:
        spec.endpoint.ports.extend(ports.parse_service(text))
    apply_common(spec, given)
    return spec


def _set_mode(mode: swarm.ServiceMode, given: Mapping[str, Any]) -> None:
    replicas, concurrent = given["replicas"], given["max_concurrent"]
    match given["mode"]:
        case "global" | "global-job":
            if replicas is not None:
                raise values.invalid(
                    f"replicas can only be used with replicated or replicated-job mode, not {given['mode']}"
                )
            if given["mode"] == "global":
                mode.global_.SetInParent() if hasattr(mode, "global_") else getattr(
                    mode, "global"
                ).SetInParent()
            else:
                mode.global_job.SetInParent()
        case "replicated-job":
            total = _count(1 if replicas is None else replicas)
            mode.replicated_job.total_completions = total
            mode.replicated_job.max_concurrent = total if concurrent is None else concurrent
        case _:
            mode.replicated.replicas = _count(1 if replicas is None else replicas)
    if concurrent is not None and given["mode"] != "replicated-job":
        raise values.invalid("max-concurrent can only be used with replicated-job mode")


def _count(replicas: int) -> int:
    if replicas < 0:
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
        spec.update.progress_deadline_ms = values.milliseconds(given["update_progress_deadline"])
    if given["endpoint_mode"]:
        spec.endpoint.mode = _ENDPOINT_MODES[given["endpoint_mode"]]
    if given["replicas_max_per_node"] is not None:
        spec.task.placement.max_replicas_per_node = given["replicas_max_per_node"]


def _apply_process(run: container.ContainerSpec, given: Mapping[str, Any]) -> None:
    if given["entrypoint"] is not None:
        del run.entrypoint[:]
        run.entrypoint.extend(_words(given["entrypoint"], "--entrypoint"))
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
        run.stop_grace_ms = values.milliseconds(given["stop_grace_period"])
    if given["log_driver"]:
        run.log.driver = given["log_driver"]
    run.log.options.update(values.mapping(given["log_opt"], "--log-opt"))


def _apply_limits(task: swarm.TaskSpec, given: Mapping[str, Any]) -> None:
    resources = task.container.resources
    if given["limit_cpu"]:
        resources.nano_cpus = values.nano_cpus(given["limit_cpu"], "--limit-cpu")
    if given["limit_memory"]:
        resources.memory_bytes = units.parse_bytes(given["limit_memory"])
    if given["limit_pids"] is not None:
        resources.pids_limit = given["limit_pids"]
    if given["memory_swap"]:
        resources.memory_swap_bytes = (
            -1 if given["memory_swap"] == "-1" else units.parse_bytes(given["memory_swap"])
        )
    if given["memory_swappiness"] is not None and given["memory_swappiness"] >= 0:
        resources.memory_swappiness = given["memory_swappiness"]
    if given["oom_score_adj"] is not None:
        resources.oom_score_adj = given["oom_score_adj"]
    if given["reserve_cpu"]:
        task.reservations.nano_cpus = values.nano_cpus(given["reserve_cpu"], "--reserve-cpu")
    if given["reserve_memory"]:
        task.reservations.memory_bytes = units.parse_bytes(given["reserve_memory"])


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
            setattr(run.health, f"{field}_ms", values.milliseconds(given[f"health_{field}"]))
    if given["health_retries"] is not None:
        run.health.retries = given["health_retries"]
    if given["health_on_failure"]:
        run.health.on_failure = _HEALTH_ACTIONS[given["health_on_failure"]]


def _apply_restart(task: swarm.TaskSpec, given: Mapping[str, Any]) -> None:
    if given["restart_condition"]:
        task.restart.condition = _CONDITIONS[given["restart_condition"]]
    if given["restart_delay"]:
        task.restart.delay_ms = values.milliseconds(given["restart_delay"])
    if given["restart_max_attempts"] is not None:
        task.restart.max_attempts = given["restart_max_attempts"]
    if given["restart_window"]:
        task.restart.window_ms = values.milliseconds(given["restart_window"])
    if given["restart_backoff_max"]:
        task.restart.backoff_max_ms = values.milliseconds(given["restart_backoff_max"])


def _apply_update(config: swarm.UpdateConfig, kind: str, given: Mapping[str, Any]) -> None:
    if given[f"{kind}_parallelism"] is not None:
        config.parallelism = given[f"{kind}_parallelism"]
    if given[f"{kind}_delay"]:
        config.delay_ms = values.milliseconds(given[f"{kind}_delay"])
    if given[f"{kind}_monitor"]:
        config.monitor_ms = values.milliseconds(given[f"{kind}_monitor"])
    if given[f"{kind}_failure_action"]:
        config.failure_action = _FAILURE_ACTIONS[given[f"{kind}_failure_action"]]
    if given[f"{kind}_max_failure_ratio"] is not None:
        config.max_failure_ratio = given[f"{kind}_max_failure_ratio"]
    if given[f"{kind}_order"]:
        config.order = _ORDERS[given[f"{kind}_order"]]


# ------------------------------------------------------------------------------------------------ changing


def change(spec: swarm.ServiceSpec, given: Mapping[str, Any]) -> None:
    """Apply the options of update to a service's spec.

    Raises:
        errors.Invalid: An option is malformed, or does not fit the service's mode.
    """
    task, run = spec.task, spec.task.container
    if given["image"]:
        run.image = given["image"]
    if given["new_args"] is not None:
        del run.cmd[:]
        run.cmd.extend(_words(given["new_args"], "--args"))
    if given["force"]:
        task.force_update += 1
    if given["replicas"] is not None:
        set_replicas(spec, given["replicas"])
    if given["max_concurrent"] is not None:
        if spec.mode.WhichOneof("mode") != "replicated_job":
            raise values.invalid("max-concurrent can only be used with replicated-job mode")
        spec.mode.replicated_job.max_concurrent = given["max_concurrent"]
    _change_lists(spec, given)
    _change_mappings(spec, given)
    apply_common(spec, given)


def set_replicas(spec: swarm.ServiceSpec, replicas: int) -> None:
    """Set the number of tasks.

    Raises:
        errors.Invalid: It is negative, or the service is not replicated.
    """
    match spec.mode.WhichOneof("mode"):
        case "replicated":
            spec.mode.replicated.replicas = _count(replicas)
        case "replicated_job":
            spec.mode.replicated_job.total_completions = _count(replicas)
        case _:
            raise values.invalid(
                f"{spec.annotations.name}: scale can only be used with replicated or replicated-job mode"
            )


def _change_strings(entries: MutableSequence[str], add: tuple[str, ...], remove: tuple[str, ...]) -> None:
    kept = [entry for entry in entries if entry not in remove]
    kept += [entry for entry in add if entry not in kept]
    del entries[:]
    entries.extend(kept)


def _change_lists(spec: swarm.ServiceSpec, given: Mapping[str, Any]) -> None:
    task, run = spec.task, spec.task.container
    _change_strings(task.placement.constraints, given["constraint_add"], given["constraint_rm"])
    _change_strings(run.network.dns, given["dns_add"], given["dns_rm"])
    _change_strings(run.network.dns_options, given["dns_option_add"], given["dns_option_rm"])
    _change_strings(run.network.dns_search, given["dns_search_add"], given["dns_search_rm"])
    _change_strings(run.network.extra_hosts, given["host_add"], given["host_rm"])
    _change_strings(run.groups, given["group_add"], given["group_rm"])
    _change_strings(run.security.cap_add, given["cap_add"], given["cap_drop"])
    _change_strings(run.security.cap_drop, given["cap_drop"], given["cap_add"])
    _change_strings(
        task.placement.spread_over,
        tuple(_preference(text) for text in given["placement_pref_add"]),
        tuple(_preference(text) for text in given["placement_pref_rm"]),
    )
    added = [entry.partition("=")[0] for entry in given["env_add"]]
    env = [entry for entry in run.env if entry.partition("=")[0] not in (*given["env_rm"], *added)]
    env += values.environment(given["env_add"], ())
    del run.env[:]
    run.env.extend(env)
    _change_messages(
        run.mounts,
        [mounts.parse_mount(text) for text in given["mount_add"]],
        lambda mount: mount.target,
        set(given["mount_rm"]),
    )
    _change_messages(
        task.networks,
        [_network(text) for text in given["network_add"]],
        lambda net: net.target,
        set(given["network_rm"]),
    )
    _change_messages(
        run.resources.ulimits,
        [limits.parse_ulimit(text) for text in given["ulimit_add"]],
        lambda limit: limit.name,
        set(given["ulimit_rm"]),
    )
    for field, option, base in ((task.secrets, "secret", "/run/secrets/"), (task.configs, "config", "/")):
        _change_messages(
            field,
            [_file_reference(text, f"--{option}-add", base) for text in given[f"{option}_add"]],
            lambda reference: reference.name,
            set(given[f"{option}_rm"]),
        )
    _change_ports(spec, given)


def _change_ports(spec: swarm.ServiceSpec, given: Mapping[str, Any]) -> None:
    removed = set()
    for text in given["publish_rm"]:
        target, _, protocol = text.partition("/")
        if not target.isdigit():
            raise values.invalid(f"--publish-rm {text!r}: give a target port, as in 80 or 53/udp")
        removed.add((int(target), protocol or "tcp"))
    _change_messages(
        spec.endpoint.ports,
        [port for text in given["publish_add"] for port in ports.parse_service(text)],
        lambda port: (port.target_port, port.protocol or "tcp"),
        removed,
    )


def _change_messages(
    entries: RepeatedCompositeFieldContainer[Any],
    add: list[Any],
    key: Callable[[Any], object],
    remove: set[Any],
) -> None:
    replaced = remove | {key(entry) for entry in add}
    kept = [entry for entry in entries if key(entry) not in replaced]
    copies = []
    for entry in [*kept, *add]:
        copy = type(entry)()
        copy.CopyFrom(entry)
        copies.append(copy)
    del entries[:]
    entries.extend(copies)


def _change_mappings(spec: swarm.ServiceSpec, given: Mapping[str, Any]) -> None:
    run = spec.task.container
    for entries, option in (
        (spec.annotations.labels, "label"),
        (run.labels, "container_label"),
        (run.security.sysctls, "sysctl"),
    ):
        entries.update(values.mapping(given[f"{option}_add"], f"--{option.replace('_', '-')}-add"))
        for key in given[f"{option}_rm"]:
            entries.pop(key, None)
    generic = spec.task.reservations.generic
    generic.update(_generic(given["generic_resource_add"]))
    for key in given["generic_resource_rm"]:
        generic.pop(key, None)


# ------------------------------------------------------------------------------------------------ grammars


def _words(text: str, option: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise values.invalid(f"{option} {text!r}: {exc}") from None


def _preference(text: str) -> str:
    strategy, _, key = text.partition("=")
    if strategy != "spread" or not key:
        raise values.invalid(f"--placement-pref {text!r}: give spread=node.labels.KEY")
    return key


def _generic(texts: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for text in texts:
        key, value = values.key_value(text, "--generic-resource")
        if not value.isdigit():
            raise values.invalid(f"--generic-resource {text!r}: give KIND=NUMBER")
        found[key] = int(value)
    return found


def _network(text: str) -> swarm.NetworkAttachment:
    if "=" not in text:
        return swarm.NetworkAttachment(target=text)
    attachment = swarm.NetworkAttachment()
    for field, value in values.csv_fields(text, "--network"):
        match field:
            case "name" if value:
                attachment.target = value
            case "alias" if value:
                attachment.aliases.append(value)
            case "driver-opt" if value:
                key, content = values.key_value(value, "--network driver-opt")
                attachment.options[key] = content
            case _:
                raise values.invalid(f"--network {text!r}: unexpected field {field!r}")
    if not attachment.target:
        raise values.invalid(f"--network {text!r}: field name is missing")
    return attachment


def _file_reference(text: str, option: str, base: str) -> swarm.FileReference:
    reference = swarm.FileReference(uid="0", gid="0", mode=0o444)
    for field, value in [("source", text)] if "=" not in text else values.csv_fields(text, option):
        match field:
            case "source" | "src" if value:
                reference.name = value
            case "target" if value:
                reference.target = value
            case "uid" | "gid" if value:
                setattr(reference, field, value)
            case "mode" if value:
                try:
                    reference.mode = int(value, 8)
                except ValueError:
                    raise values.invalid(f"{option} {text!r}: mode {value!r} is not octal") from None
            case _:
                raise values.invalid(f"{option} {text!r}: unexpected field {field!r}")
    if not reference.name:
        raise values.invalid(f"{option} {text!r}: source is required")
    target = reference.target or reference.name
    reference.target = target if target.startswith("/") else f"{base}{target}"
    return reference
