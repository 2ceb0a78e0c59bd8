"""The options of `service create` and `service update`, in docker's words.

Lists are given whole to create (`--env`) and changed by update (`--env-add`, `--env-rm`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.specs.health import ACTIONS
from cli.specs.options import COUNT, Whole
from cli.specs.service_common import CONDITIONS, ENDPOINT_MODES, ORDERS
from cli.specs.values import UINT32_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


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
            f"--{kind}-order", type=click.Choice(list(ORDERS)), help="Which goes first (stop-first)"
        ),
        click.option(
            f"--{kind}-parallelism",
            type=COUNT,
            help="Tasks replaced at once, 0 for all at once (1)",
        ),
    ]


def _common() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--endpoint-mode",
            type=click.Choice(list(ENDPOINT_MODES)),
            help="Endpoint mode (vip)",
        ),
        click.option("--entrypoint", metavar="command", help="Overwrite the default ENTRYPOINT of the image"),
        click.option("--health-cmd", metavar="string", help="Command to run to check health"),
        click.option("--health-interval", metavar="duration", help="Time between running the check"),
        click.option("--health-on-failure", type=click.Choice(list(ACTIONS)), help="Action when unhealthy"),
        click.option(
            "--health-retries",
            type=Whole(0, UINT32_MAX),
            metavar="int",
            help="Failures needed to report unhealthy",
        ),
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
            "--memory-swappiness",
            type=Whole(-1, 100),
            metavar="int",
            help="Tune memory swappiness (0 to 100)",
        ),
        click.option("--no-resolve-image", is_flag=True, help="Do not resolve the image to a digest"),
        click.option(
            "--oom-score-adj", type=Whole(-1000, 1000), metavar="int", help="Tune host's OOM preferences"
        ),
        click.option(
            "--read-only/--no-read-only",
            "read_only",
            default=None,
            help="Read-only root filesystem",
        ),
        click.option("--replicas", type=int, metavar="uint", help="Number of tasks"),
        click.option("--replicas-max-per-node", type=COUNT, help="Maximum number of tasks per node (0)"),
        click.option("--reserve-cpu", metavar="decimal", help="Reserve CPUs"),
        click.option("--reserve-memory", metavar="bytes", help="Reserve Memory"),
        click.option(
            "--restart-condition", type=click.Choice(list(CONDITIONS)), help="When to restart (any)"
        ),
        click.option("--restart-delay", metavar="duration", help="Delay between restart attempts (5s)"),
        click.option("--restart-max-attempts", type=COUNT, help="Maximum number of restarts"),
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
            click.option("--max-concurrent", type=COUNT, help="Job tasks to run concurrently"),
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
        click.option("--max-concurrent", type=COUNT, help="Job tasks to run concurrently"),
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
