"""What the image says and what the user says, merged as Docker merges them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.model.durations import bounded
from services.containerd.model.spec import STOP_GRACE_DEFAULT_S, ContainerSpec, HealthAction, Healthcheck
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.containerd.model.image import ImageConfig

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The two parts of what runs: kept apart, since Docker shows them apart."""

    path: str
    args: tuple[str, ...]

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command line."""
        return (self.path, *self.args)


def command(spec: ContainerSpec, image: ImageConfig) -> Command:
    """Return what runs.

    Replacing the entry point drops the image's command too: it was written as arguments of the image's entry point.

    Raises:
        errors.Invalid: Neither the user nor the image names a command, or it is empty.
    """
    entrypoint = spec.entrypoint if spec.entrypoint is not None else image.entrypoint
    argv = (*entrypoint, *arguments(spec, image))
    if not argv:
        raise errors.Invalid(
            "no command specified: neither the image nor the request names one", reason="SPEC_INVALID"
        )
    if not argv[0]:
        raise errors.Invalid(
            "the command is empty: name a program", reason="SPEC_INVALID", metadata={"exit_code": "127"}
        )
    return Command(path=argv[0], args=argv[1:])


def arguments(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """Return the arguments of the entry point, or the whole command without one."""
    return spec.command or (image.command if spec.entrypoint is None else ())


def merged_environment(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """Return what image and user set, without what is set for every container."""
    merged: dict[str, str] = {}
    merge_environment(merged, image.env)
    merge_environment(merged, spec.env)
    return tuple(f"{name}={value}" for name, value in merged.items())


def environment(
    spec: ContainerSpec, image: ImageConfig, *, hostname: str, home: str, extra: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the process's environment: defaults, then the image's, then the user's; later ones win, order is kept."""
    merged: dict[str, str] = {"PATH": PATH_DEFAULT}
    if hostname:
        merged["HOSTNAME"] = hostname
    if spec.tty:
        merged["TERM"] = "xterm"
    merge_environment(merged, image.env)
    merge_environment(merged, spec.env)
    merge_environment(merged, extra)
    if "HOME" not in merged:
        merged["HOME"] = home
    return tuple(f"{name}={value}" for name, value in merged.items())


def merge_environment(merged: dict[str, str], entries: Iterable[str]) -> None:
    """Apply `NAME=value` entries; a bare `NAME` removes it."""
    for entry in entries:
        name, separator, value = entry.partition("=")
        if separator:
            merged[name] = value
        else:
            merged.pop(name, None)


def labels(spec: ContainerSpec, image: ImageConfig) -> Mapping[str, str]:
    """Return the image's labels with the user's over them."""
    return {**image.labels, **spec.labels}


def workdir(spec: ContainerSpec, image: ImageConfig) -> str:
    """Return the absolute working directory.

    Raises:
        errors.Invalid: It is not absolute.
    """
    chosen = spec.workdir or image.workdir or "/"
    if not chosen.startswith("/"):
        raise errors.Invalid(
            f"the working directory {chosen!r} is not an absolute path", reason="SPEC_INVALID"
        )
    return posixpath.normpath("/" + chosen.lstrip("/"))


def user(spec: ContainerSpec, image: ImageConfig) -> str:
    """Return `user[:group]`, empty for root."""
    return spec.user or image.user


def stop_signal(spec: ContainerSpec, image: ImageConfig) -> str:
    """Return the name of the signal that asks the container to stop."""
    return spec.stop_signal or image.stop_signal or "SIGTERM"


def stop_grace_s(spec: ContainerSpec) -> float:
    """Return how long the container may take to stop; negative is for ever."""
    return STOP_GRACE_DEFAULT_S if spec.stop_grace_s is None else bounded(spec.stop_grace_s)


def check_health(spec: ContainerSpec, image: ImageConfig) -> None:
    """Refuse to act on a health that nobody looks at.

    Raises:
        errors.Invalid: An action on failure is asked for, and there is no health check (NO_HEALTHCHECK).
    """
    if (
        spec.health is not None
        and spec.health.on_failure is not HealthAction.NONE
        and health(spec, image) is None
    ):
        raise errors.Invalid(
            f"--health-on-failure {spec.health.on_failure}: there is no health check, neither from --health-cmd nor"
            " from the image",
            reason="NO_HEALTHCHECK",
        )


def health(spec: ContainerSpec, image: ImageConfig) -> Healthcheck | None:
    """Return the health check that is in force, None without one. Fields left at zero are filled from the image's."""
    own, inherited = spec.health, image.health
    if own is None or not own.test:
        if inherited is None or not inherited.test or inherited.test == ("NONE",):
            return None
        if own is None:
            return inherited
        return Healthcheck(
            test=inherited.test,
            interval_s=own.interval_s or inherited.interval_s,
            timeout_s=own.timeout_s or inherited.timeout_s,
            start_period_s=own.start_period_s or inherited.start_period_s,
            start_interval_s=own.start_interval_s or inherited.start_interval_s,
            retries=own.retries or inherited.retries,
            on_failure=own.on_failure,
        )
    return None if own.test == ("NONE",) else own
