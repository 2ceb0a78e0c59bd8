"""A volume as it is recorded, and the rules for what may be asked for one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from services.containerd.volumes.core import local_options
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.model.spec import Mount

LOCAL = "local"
DRIVERS = (LOCAL,)
NAME_CHARS_MAX = 255
LABELS_MAX = 1_000
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Stage(StrEnum):
    """What is under way; recorded before it begins.

    stage      its directory                                    after a crash
    ready      what containers see, or not made yet             nothing to do
    filling    a part of what an image has at a mount's target  emptied and filled again by the next container
    receiving  nothing yet: an import or clone fills it aside   goes
    removing   any part                                         goes
    """

    READY = "ready"
    FILLING = "filling"
    RECEIVING = "receiving"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume."""

    name: str
    created_at: datetime
    driver: str = LOCAL
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False
    stage: Stage = Stage.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for a volume that may exist already."""

    name: str
    driver: str = LOCAL
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False


def wanted_by(mount: Mount, *, anonymous: bool) -> Wanted:
    """Return what a mount asks for."""
    return Wanted(
        name=mount.source,
        driver=mount.volume_driver or LOCAL,
        options=mount.volume_options,
        labels=mount.volume_labels,
        anonymous=anonymous,
    )


def check(wanted: Wanted) -> None:
    """Refuse what no volume can be.

    Raises:
        errors.Invalid: Its name or an option (SPEC_INVALID), or the driver (VOLUME_DRIVER_UNKNOWN).
    """
    check_name(wanted.name)
    if wanted.driver not in DRIVERS:
        raise errors.Invalid(
            f"error looking up volume plugin {wanted.driver}: plugin {wanted.driver!r} not found; this node has"
            f" {', '.join(DRIVERS)}",
            reason="VOLUME_DRIVER_UNKNOWN",
        )
    if len(wanted.labels) > LABELS_MAX:
        raise errors.Invalid(f"a volume has at most {LABELS_MAX} labels", reason="SPEC_INVALID")
    local_options.parse(wanted.options)


def check_name(name: str) -> None:
    """Refuse what is no name: it becomes a directory, and shares a field of `-v` with paths.

    Raises:
        errors.Invalid: With the rule.
    """
    if len(name) == 1:
        raise errors.Invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
            reason="SPEC_INVALID",
        )
    if len(name) > NAME_CHARS_MAX:
        raise errors.Invalid(
            f"a volume's name has at most {NAME_CHARS_MAX} characters", reason="SPEC_INVALID"
        )
    if _NAME.fullmatch(name) is None:
        raise errors.Invalid(
            f'"{name[:80]}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are'
            " allowed. If you intended to pass a host directory, use absolute path",
            reason="SPEC_INVALID",
        )


def check_same(volume: Volume, wanted: Wanted) -> None:
    """Refuse a volume that exists as the one that is wanted, unless it is that.

    Labels do not matter, and neither do its options where none are asked for: it is only named then.

    Raises:
        errors.AlreadyExists: It has another driver or other options (VOLUME_EXISTS).
    """
    if volume.driver != wanted.driver:
        raise _other(f"driver {volume.driver!r}, not {wanted.driver!r}", volume)
    if wanted.options and dict(volume.options) != dict(wanted.options):
        have, want = _shown(volume.options), _shown(wanted.options)
        raise _other(f"{have}, not {want}", volume)


def _other(difference: str, volume: Volume) -> errors.AlreadyExists:
    return errors.AlreadyExists(
        f"a volume named {volume.name} exists already, with {difference}:"
        " choose another name, or remove that one first",
        reason="VOLUME_EXISTS",
        metadata={"volume": volume.name},
    )


def _shown(options: Mapping[str, str]) -> str:
    text = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"the options {text}" if text else "no options"
