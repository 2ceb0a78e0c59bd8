"""The options of `service update`, applied to the ServiceSpec that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.specs import limits, mounts, ports, service_fields, values
from cli.specs.service_common import apply_common, count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableSequence

    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    from beeyard.swarm.v1 import objects_pb2 as swarm


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
        run.cmd.extend(service_fields.words(given["new_args"], "--args"))
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
            spec.mode.replicated.replicas = count(replicas)
        case "replicated_job":
            spec.mode.replicated_job.total_completions = count(replicas)
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
        tuple(service_fields.preference(text) for text in given["placement_pref_add"]),
        tuple(service_fields.preference(text) for text in given["placement_pref_rm"]),
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
        [service_fields.network(text) for text in given["network_add"]],
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
            [service_fields.file_reference(text, f"--{option}-add", base) for text in given[f"{option}_add"]],
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
    generic.update(service_fields.generic(given["generic_resource_add"]))
    for key in given["generic_resource_rm"]:
        generic.pop(key, None)
