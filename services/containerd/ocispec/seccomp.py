"""A seccomp profile in the containers-common format, resolved to the OCI specification's `linux.seccomp`.

The profile holds sections that apply only with certain capabilities, on certain architectures or from a kernel
version on. Resolving them is pure and happens once per set of capabilities.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from services.containerd.ocispec.facts import Section

_ARCHITECTURES = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "s390x": "SCMP_ARCH_S390X",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
}
# The errno names that the profile of containers-common uses; a profile with another one gives numbers.
_ERRNO = {"EPERM": 1, "EACCES": 13, "EINVAL": 22, "ENOSYS": 38}
PROFILE_BYTES_MAX = 1 << 20


def resolve(
    text: bytes | str, *, capabilities: Collection[str], architecture: str, kernel: tuple[int, int]
) -> Section:
    """Return `linux.seccomp` for a container with these capabilities on this machine.

    Args:
        text: The profile's JSON.
        capabilities: The container's bounding set.
        architecture: In Go's names, "amd64".
        kernel: Major and minor version.

    Raises:
        errors.Invalid: The profile does not parse.
        errors.Unsupported: A rule for this container asks somebody else.
    """
    profile = _parse(text)
    built: Section = {"defaultAction": _action(profile, "defaultAction")}
    default_errno = _errno(profile, "defaultErrnoRet", "defaultErrno")
    if default_errno is not None:
        built["defaultErrnoRet"] = default_errno
    architectures = _architectures(profile, architecture)
    if architectures:
        built["architectures"] = architectures
    flags = profile.get("flags")
    if isinstance(flags, list) and flags:
        built["flags"] = flags
    built["syscalls"] = [
        _rule(entry)
        for entry in _objects(profile, "syscalls")
        if _applies(entry, capabilities=capabilities, architecture=architecture, kernel=kernel)
    ]
    return built


def _parse(text: bytes | str) -> Mapping[str, object]:
    if len(text) > PROFILE_BYTES_MAX:
        raise errors.Invalid(
            f"the seccomp profile is larger than {PROFILE_BYTES_MAX} bytes", reason="SPEC_INVALID"
        )
    try:
        profile = json.loads(text)
    except ValueError as exc:
        raise errors.Invalid(f"the seccomp profile is not JSON: {exc}", reason="SPEC_INVALID") from None
    if not isinstance(profile, dict):
        raise _malformed("it is not an object")
    return profile


def _architectures(profile: Mapping[str, object], architecture: str) -> list[str]:
    """Return the native architecture first, then those whose programs may run beside it."""
    native = _ARCHITECTURES.get(architecture)
    if "archMap" not in profile:
        given = profile.get("architectures", [])
        return [str(name) for name in given] if isinstance(given, list) else []
    for entry in _objects(profile, "archMap"):
        if entry.get("architecture") == native:
            sub = entry.get("subArchitectures") or []
            return [str(native), *(str(name) for name in sub)] if isinstance(sub, list) else [str(native)]
    return [native] if native is not None else []


def _applies(
    entry: Mapping[str, object], *, capabilities: Collection[str], architecture: str, kernel: tuple[int, int]
) -> bool:
    includes, excludes = _conditions(entry, "includes"), _conditions(entry, "excludes")
    wanted = includes.get("caps")
    if wanted and not all(name in capabilities for name in wanted):
        return False
    if any(name in capabilities for name in excludes.get("caps", ())):
        return False
    arches = includes.get("arches")
    if arches and architecture not in arches:
        return False
    if architecture in excludes.get("arches", ()):
        return False
    return kernel >= _kernel(includes) and not (excludes.get("minKernel") and kernel >= _kernel(excludes))


def _conditions(entry: Mapping[str, object], name: str) -> Mapping[str, tuple[str, ...]]:
    given = entry.get(name)
    if not isinstance(given, dict):
        return {}
    conditions: dict[str, tuple[str, ...]] = {}
    for key, value in given.items():
        conditions[str(key)] = (
            tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)
        )
    return conditions


def _kernel(conditions: Mapping[str, tuple[str, ...]]) -> tuple[int, int]:
    text = next(iter(conditions.get("minKernel", ())), "0.0")
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise _malformed(f"minKernel {text!r} is not MAJOR.MINOR")
    return int(major), int(minor)


def _rule(entry: Mapping[str, object]) -> Section:
    names = entry.get("names") or [entry.get("name")]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _malformed("a rule names no system call")
    rule: Section = {"names": names, "action": _action(entry, "action")}
    errno = _errno(entry, "errnoRet", "errno")
    if errno is not None:
        rule["errnoRet"] = errno
    arguments = entry.get("args")
    if arguments:
        rule["args"] = arguments
    return rule


def _errno(entry: Mapping[str, object], number_key: str, name_key: str) -> int | None:
    number = entry.get(number_key)
    if isinstance(number, int):
        return number
    name = entry.get(name_key)
    if isinstance(name, str) and name:
        if name not in _ERRNO:
            raise _malformed(f"unknown errno {name!r}: give the number as {number_key}")
        return _ERRNO[name]
    return None


def _objects(holder: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = holder.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _malformed(f"{key} is not a list of objects")
    return value


def _action(holder: Mapping[str, object], key: str) -> str:
    action = _string(holder, key)
    if action == "SCMP_ACT_NOTIFY":
        raise errors.Unsupported(
            f"the seccomp action {action} is not supported: nobody on this node would answer the system calls",
            reason="SECCOMP_NOTIFY_UNSUPPORTED",
        )
    return action


def _string(holder: Mapping[str, object], key: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        raise _malformed(f"{key} is missing")
    return value


def _malformed(why: str) -> errors.Invalid:
    return errors.Invalid(f"the seccomp profile is malformed: {why}", reason="SPEC_INVALID")
