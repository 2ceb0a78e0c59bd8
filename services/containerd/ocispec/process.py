"""The `process` object: what runs, as whom, with what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.containerd.ocispec import capabilities, resolve, rlimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.containerd.model.image import ImageConfig
    from services.containerd.model.spec import ContainerSpec, Security
    from services.containerd.ocispec.facts import HostFacts, Identity, Placement, Section

UNCONFINED = "unconfined"
_INIT = ("/sbin/docker-init", "--")


def has_init(spec: ContainerSpec) -> bool:
    """Return whether `--init` has an effect: where the processes are not its own another one is process 1."""
    return spec.init and spec.security.pid in ("", "private")


def section(
    spec: ContainerSpec, image: ImageConfig, placement: Placement, host: HostFacts
) -> tuple[Section, list[str]]:
    """Return the object and warnings.

    Raises:
        errors.Invalid: No command, an unknown capability, a relative working directory.
        errors.Unsupported: A capability that the daemon does not have.
    """
    argv = resolve.command(spec, image).argv
    if placement.init_path:
        argv = (*_INIT, *argv)
    identity = placement.identity
    limits, warnings = rlimits.section(spec.resources.ulimits, host.hard_limits)
    bounding = capabilities.resolve(
        add=spec.security.cap_add,
        drop=spec.security.cap_drop,
        privileged=spec.security.privileged,
        available=host.capabilities,
    )
    built: Section = {
        "terminal": spec.tty,
        "user": user(identity),
        "args": list(argv),
        "env": list(resolve.environment(spec, image, hostname=placement.hostname, home=identity.home)),
        "cwd": resolve.workdir(spec, image),
        "capabilities": capabilities.section(bounding, uid=identity.uid),
        "noNewPrivileges": spec.security.no_new_privileges,
    }
    if limits:
        built["rlimits"] = limits
    # Always: a container must not be as dear to the kernel as the daemon from which it would inherit.
    built["oomScoreAdj"] = max(spec.resources.oom_score_adj, host.oom_score_adj_min)
    if (profile := apparmor_profile(spec.security, host)) not in ("", UNCONFINED):
        built["apparmorProfile"] = profile
    return built, warnings


def apparmor_profile(security: Security, host: HostFacts) -> str:
    """Return the name of the profile that confines a container; empty where the kernel has no AppArmor."""
    if not host.apparmor:
        return ""
    return security.apparmor or (UNCONFINED if security.privileged else host.apparmor_default) or UNCONFINED


def user(identity: Identity) -> Section:
    """Return `process.user`."""
    return {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)}


def exec_section(
    main: Section,
    *,
    argv: Sequence[str],
    env: Sequence[str],
    identity: Identity,
    workdir: str,
    tty: bool,
    privileged: bool,
    available: frozenset[str],
) -> Section:
    """Return the process object of an exec, derived from the container's own `process` object `main`.

    It gets the container's limits, and its capabilities unless it is to be privileged.
    """
    merged: dict[str, str] = {}
    main_env = main.get("env")
    resolve.merge_environment(merged, main_env if isinstance(main_env, list) else [])
    if identity.uid != _uid(main):
        merged["HOME"] = identity.home
    if tty:
        merged.setdefault("TERM", "xterm")
    resolve.merge_environment(merged, env)
    bounding = _bounding(main)
    if privileged:
        bounding = tuple(name for name in capabilities.BY_NUMBER if name in available)
    built: Section = {
        **main,
        "terminal": tty,
        "user": user(identity),
        "args": list(argv),
        "env": [f"{name}={value}" for name, value in merged.items()],
        "cwd": workdir or main["cwd"],
        "capabilities": capabilities.section(bounding, uid=identity.uid),
    }
    return built


def _uid(main: Section) -> object:
    main_user = main.get("user")
    return main_user.get("uid") if isinstance(main_user, dict) else None


def _bounding(main: Section) -> tuple[str, ...]:
    held = main.get("capabilities")
    bounding = held.get("bounding") if isinstance(held, dict) else None
    return tuple(str(name) for name in bounding) if isinstance(bounding, list) else ()
