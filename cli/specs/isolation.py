"""Isolation and privileges of `run` and `create`: capabilities, namespaces, devices, --security-opt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import spec_pb2 as pb
from cli.specs import values

if TYPE_CHECKING:
    from collections.abc import Mapping

PROFILE_BYTES_MAX = 1 << 20
_CGROUP_RULE = re.compile(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}")
_PERMISSIONS = frozenset("rwm")
_MODES = {
    "pid": ("", "host", "private"),
    "ipc": ("", "none", "private", "shareable", "host"),
    "uts": ("", "host", "private"),
    "cgroupns": ("", "host", "private"),
}
"""Namespaces: the values besides container:NAME."""


def build(given: Mapping[str, Any]) -> pb.Security:
    """Make the isolation.

    Raises:
        errors.Invalid: A value is malformed.
    """
    for name, plain in _MODES.items():
        value = given[name]
        if value not in plain and not (value.startswith("container:") and len(value) > 10):
            allowed = [*filter(None, plain), "container:NAME"]
            raise values.invalid(f"--{name} {value!r}: use {', '.join(allowed)}")
    security = pb.Security(
        privileged=given["privileged"],
        cap_add=[_capability(name) for name in given["cap_add"]],
        cap_drop=[_capability(name) for name in given["cap_drop"]],
        read_only_root=given["read_only"],
        ipc=given["ipc"],
        pid=given["pid"],
        uts=given["uts"],
        cgroupns=given["cgroupns"],
        userns=given["userns"],
        devices=[parse_device(text) for text in given["device"]],
        device_cgroup_rules=[_cgroup_rule(text) for text in given["device_cgroup_rule"]],
        sysctls=_sysctls(given["sysctl"]),
        gpus=given["gpus"],
    )
    for text in given["security_opt"]:
        _apply_option(security, text)
    return security


def parse_device(text: str) -> pb.Device:
    """Read a --device value: host[:container][:permissions].

    Raises:
        errors.Invalid: It is malformed.
    """
    if "=" in text and not text.startswith("/"):
        raise values.invalid(f"--device {text!r}: devices by name (CDI) are not supported: give a path")
    parts = text.split(":")
    host, inside, permissions = parts[0], "", ""
    if len(parts) == 2 and _is_permissions(parts[1]):
        permissions = parts[1]
    elif len(parts) >= 2:
        inside = parts[1]
    if len(parts) == 3:
        permissions = parts[2]
        if not _is_permissions(permissions):
            raise values.invalid(f"--device {text!r}: bad mode {permissions!r}: give letters of rwm")
    if len(parts) > 3 or not host or not (inside or host).startswith("/"):
        raise values.invalid(f"--device {text!r}: give /host/path[:/container/path][:rwm]")
    return pb.Device(host_path=host, container_path=inside, permissions=permissions)


def _is_permissions(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and set(text) <= _PERMISSIONS


def _capability(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]+", name):
        raise values.invalid(f"invalid capability {name!r}")
    return name.upper()


def _cgroup_rule(text: str) -> str:
    if not _CGROUP_RULE.fullmatch(text):
        raise values.invalid(
            f"--device-cgroup-rule {text!r}: give 'type major:minor mode', as in 'c 42:* rmw'"
        )
    return text


def _sysctls(texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise values.invalid(f"--sysctl {text!r}: give name=value")
    return values.mapping(texts, "--sysctl")


def _apply_option(security: pb.Security, text: str) -> None:
    name, separator, value = text.partition("=")
    if not separator and not name.startswith("no-new-privileges"):
        name, separator, value = text.partition(":")
    elif not separator:
        name, _, value = text.partition(":")
    match name:
        case "no-new-privileges":
            security.no_new_privileges = values.flag(value or None, name, "--security-opt")
        case "seccomp" if value:
            security.seccomp = _seccomp(value)
        case "apparmor" if value:
            security.apparmor = value
        case "label" if value:
            security.selinux.append(value)
        case "systempaths" if value == "unconfined":
            security.systempaths_unconfined = True
        case _:
            raise values.invalid(
                f"invalid --security-opt {text!r}: use no-new-privileges, seccomp=, apparmor=, label= or"
                " systempaths=unconfined"
            )


def _seccomp(value: str) -> str:
    """Return the profile: a built-in's name, or the content of a file."""
    if value in ("unconfined", "builtin", "default"):
        return "unconfined" if value == "unconfined" else ""
    import json
    from pathlib import Path

    try:
        data = Path(value).read_bytes()
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise values.invalid(f"opening seccomp profile ({value}) failed: {why}") from None
    if len(data) > PROFILE_BYTES_MAX:
        raise values.invalid(f"seccomp profile ({value}) is larger than {PROFILE_BYTES_MAX} bytes")
    try:
        return json.dumps(json.loads(data), separators=(",", ":"))
    except (ValueError, RecursionError) as exc:
        raise values.invalid(f"seccomp profile ({value}) is no JSON: {exc}") from None
