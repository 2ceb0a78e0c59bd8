"""The options of `service create` as a ServiceSpec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as swarm
from cli.specs import limits, mounts, ports, service_fields, values
from cli.specs.service_common import apply_common, count

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    task.placement.spread_over.extend(service_fields.preference(text) for text in given["placement_pref"])
    task.networks.extend(service_fields.network(text) for text in given["network"])
    task.reservations.generic.update(service_fields.generic(given["generic_resource"]))
    task.secrets.extend(
        service_fields.file_reference(text, "--secret", "/run/secrets/") for text in given["secret"]
    )
    task.configs.extend(service_fields.file_reference(text, "--config", "/") for text in given["config"])
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
                getattr(mode, "global").SetInParent()  # the name is a word of Python
            else:
                mode.global_job.SetInParent()
        case "replicated-job":
            total = count(1 if replicas is None else replicas)
            mode.replicated_job.total_completions = total
            mode.replicated_job.max_concurrent = total if concurrent is None else concurrent
        case _:
            mode.replicated.replicas = count(1 if replicas is None else replicas)
    if concurrent is not None and given["mode"] != "replicated-job":
        raise values.invalid("max-concurrent can only be used with replicated-job mode")
