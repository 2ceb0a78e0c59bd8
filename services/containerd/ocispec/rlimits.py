"""Resource limits of the process (`--ulimit`), within what the daemon may grant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.containerd.model.spec import Ulimit
    from services.containerd.ocispec.facts import Section

NAMES = frozenset(
    {
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    }
)

_UNLIMITED = (1 << 64) - 1


def check(ulimits: Iterable[Ulimit]) -> None:
    """Refuse limits that no kernel takes.

    Raises:
        errors.Invalid: The name is unknown, or the soft limit is above the hard one.
    """
    for limit in ulimits:
        if limit.name not in NAMES:
            raise errors.Invalid(
                f"unknown ulimit {limit.name!r}; there are {', '.join(sorted(NAMES))}", reason="SPEC_INVALID"
            )
        if (
            limit.soft < -1
            or limit.hard < -1
            or (limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard))
        ):
            raise errors.Invalid(
                f"ulimit {limit.name}: the soft limit {limit.soft} is above the hard limit {limit.hard}",
                reason="SPEC_INVALID",
            )


def section(ulimits: Iterable[Ulimit], hard_limits: Mapping[str, int]) -> tuple[list[Section], list[str]]:
    """Return `process.rlimits` and warnings; of several limits of one name the last counts.

    A daemon without CAP_SYS_RESOURCE cannot raise a hard limit, and the runtime would fail with EPERM: such a limit is
    lowered to what can be had, and said so.
    """
    entries: list[Section] = []
    warnings: list[str] = []
    for limit in {limit.name: limit for limit in ulimits}.values():
        ceiling = hard_limits.get(limit.name, -1)
        soft, hard = (_clamp(value, ceiling) for value in (limit.soft, limit.hard))
        if hard != limit.hard:
            warnings.append(f"ulimit {limit.name} lowered to {ceiling}, the hard limit of the daemon")
        entries.append({"type": f"RLIMIT_{limit.name.upper()}", "soft": _render(soft), "hard": _render(hard)})
    return entries, warnings


def _clamp(value: int, ceiling: int) -> int:
    if ceiling == -1:
        return value
    return ceiling if value == -1 else min(value, ceiling)


def _render(value: int) -> int:
    return _UNLIMITED if value == -1 else value
