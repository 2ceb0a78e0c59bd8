"""The options of `run` and `create` as a ContainerSpec. What only the node can know (devices, limits of its kernel,
names that are taken) is left to the daemon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from beeyard.container.v1 import spec_pb2 as pb
from cli.specs import health, isolation, limits, mounts, networking, values

if TYPE_CHECKING:
    from collections.abc import Mapping

_STREAMS = ("stdin", "stdout", "stderr")
_RESTARTS = {
    "": pb.RESTART_CONDITION_NO,
    "no": pb.RESTART_CONDITION_NO,
    "always": pb.RESTART_CONDITION_ALWAYS,
    "unless-stopped": pb.RESTART_CONDITION_UNLESS_STOPPED,
    "on-failure": pb.RESTART_CONDITION_ON_FAILURE,
}
_PULLS = ("always", "missing", "never")


class Streams(NamedTuple):
    """Which of its streams a container is attached to in the foreground."""

    stdin: bool
    stdout: bool
    stderr: bool


def build(image: str, command: tuple[str, ...], given: Mapping[str, Any]) -> pb.ContainerSpec:
    """Make the specification of a new container.

    Args:
        image: Reference or id.
        command: Replaces the image's command.
        given: The options by name, as `container_options` has them.

    Raises:
        errors.Invalid: An option is malformed, or two contradict each other.
    """
    if not image:
        raise values.invalid("give the name of an image")
    _refuse_foreign(given)
    spec = pb.ContainerSpec(
        name=given["name"],
        image=image,
        cmd=command,
        env=values.environment(given["env"], given["env_file"]),
        user=given["user"],
        groups=given["group_add"],
        working_dir=given["workdir"],
        labels=_labels(given),
        annotations=values.mapping(given["annotation"], "--annotation"),
        tty=given["tty"],
        open_stdin=given["interactive"],
        auto_remove=given["rm"],
        init=given["init"],
        stop_signal=given["stop_signal"],
        restart=parse_restart(given["restart"]),
        runtime=given["runtime"],
        cgroup_parent=given["cgroup_parent"],
        platform=given["platform"],
        storage_options=_pairs(given["storage_opt"], "--storage-opt"),
        log=_log(given),
        volumes_from=given["volumes_from"],
        mounts=_mounts(given),
        resources=limits.build(given),
        network=networking.build(given),
        security=isolation.build(given),
    )
    if given["entrypoint"] is not None:
        spec.entrypoint.extend(filter(None, [given["entrypoint"]]))
        spec.clear_entrypoint = not given["entrypoint"]
    if given["stop_timeout"] is not None:
        spec.stop_grace_ms = 1000 * limits.within(given["stop_timeout"], "--stop-timeout", -1, 1 << 31)
    check = health.build(given)
    if check is not None:
        spec.health.CopyFrom(check)
    if spec.auto_remove and spec.restart.condition != pb.RESTART_CONDITION_NO:
        raise values.invalid("conflicting options: cannot specify both --restart and --rm")
    return spec


def streams(given: Mapping[str, Any], *, detach: bool) -> Streams:
    """Return what `run` attaches to; nothing if it goes to the background.

    Raises:
        errors.Invalid: A stream is unknown, or the options contradict each other.
    """
    chosen = {name.lower() for name in given["attach"]}
    if unknown := chosen - set(_STREAMS):
        raise values.invalid(f"--attach {min(unknown)!r}: valid streams are STDIN, STDOUT and STDERR")
    if detach:
        if chosen:
            raise values.invalid("conflicting options: cannot specify both --attach and --detach")
        return Streams(stdin=False, stdout=False, stderr=False)
    return Streams(
        stdin="stdin" in chosen or given["interactive"],
        stdout=not chosen or "stdout" in chosen,
        stderr=not chosen or "stderr" in chosen,
    )


def parse_restart(text: str) -> pb.RestartPolicy:
    """Read a --restart value: no, always, unless-stopped, on-failure[:max].

    Raises:
        errors.Invalid: It is none of these.
    """
    name, separator, count = text.partition(":")
    if name not in _RESTARTS:
        raise values.invalid(
            f"--restart {text!r}: use no, always, unless-stopped or on-failure[:max-retries]"
        )
    if not separator:
        return pb.RestartPolicy(condition=_RESTARTS[name])
    retries = values.whole(count or "0", "--restart: maximum retry count")
    if name != "on-failure" and retries:
        raise values.invalid(f"--restart {text!r}: maximum retry count can only be used with on-failure")
    return pb.RestartPolicy(condition=_RESTARTS[name], max_retries=retries)


def check_pull(policy: str) -> str:
    """Return a --pull value; empty is the default.

    Raises:
        errors.Invalid: It is none.
    """
    if not policy:
        return "missing"
    if policy not in _PULLS:
        raise values.invalid(f'--pull {policy!r}: must be one of "always", "missing" or "never"')
    return policy


def _refuse_foreign(given: Mapping[str, Any]) -> None:
    for option in ("cpu_count", "cpu_percent", "io_maxbandwidth", "io_maxiops"):
        if given[option]:
            raise values.invalid(f"--{option.replace('_', '-')} is for containers on Windows")
    if given["isolation"] not in ("", "default"):
        raise values.invalid(f"--isolation {given['isolation']!r}: on Linux there is only 'default'")
    if given["use_api_socket"]:
        raise values.invalid(
            "--use-api-socket is not supported: mount the directory of sockets with --volume"
        )


def _labels(given: Mapping[str, Any]) -> dict[str, str]:
    lines = [line for path in given["label_file"] for line in values.file_entries(path, "--label-file")]
    return values.mapping([*lines, *given["label"]], "--label")


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise values.invalid(f"{option} {text!r}: give key=value")
    return values.mapping(texts, option)


def _log(given: Mapping[str, Any]) -> pb.LogConfig:
    if given["log_driver"] == "none" and given["log_opt"]:
        raise values.invalid("invalid logging opts for driver none")
    return pb.LogConfig(driver=given["log_driver"], options=values.mapping(given["log_opt"], "--log-opt"))


def _mounts(given: Mapping[str, Any]) -> list[pb.Mount]:
    volumes = [mounts.parse_volume(text) for text in dict.fromkeys(given["volume"])]
    others = [mounts.parse_mount(text) for text in given["mount"]]
    tmpfs = {
        mount.target: mount for mount in map(mounts.parse_tmpfs, given["tmpfs"])
    }  # the last of a place counts
    taken = {mount.target for mount in [*volumes, *others] if mount.source} | {*tmpfs}
    anonymous = {mount.target: mount for mount in volumes if not mount.source and mount.target not in taken}
    named = [
        mount for mount in volumes if mount.source
    ]  # as docker: a volume without a name gives way to what has one
    found = [*named, *anonymous.values(), *others, *tmpfs.values()]
    for mount in found:
        if mount.type == pb.MOUNT_TYPE_VOLUME and given["volume_driver"] and not mount.volume_driver:
            mount.volume_driver = given["volume_driver"]
    return found
