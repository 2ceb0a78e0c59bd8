"""The options of the local driver: none for a plain directory, or type, device and o for something that is mounted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

FLAGS = frozenset(
    {
        "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "atime", "noatime",
        "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "bind", "rbind", "defaults",
    }
)  # fmt: skip
"""Options that the kernel takes as flags; all others are text for the file system."""
_KEYS = ("type", "device", "o")
_NFS = frozenset({"nfs", "nfs4"})
_TEXT_CHARS_MAX = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounting:
    """What a volume is mounted from."""

    kind: str
    device: str
    flags: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    server: str = ""
    """Host name of an NFS server that must become an address: the kernel asks no name server."""


def parse(options: Mapping[str, str]) -> Mounting | None:
    """Return what is mounted, None for a plain directory.

    Raises:
        errors.Invalid: An option is unknown or missing (SPEC_INVALID).
    """
    if not options:
        return None
    for key in options:
        if key not in _KEYS:
            raise _invalid(f'invalid option: "{key}": the local driver has type, device and o')
    for key in ("device", "type"):
        if not options.get(key):
            raise _invalid(f'missing required option: "{key}"')
    if any("\0" in value or len(value) > _TEXT_CHARS_MAX for value in options.values()):
        raise _invalid("an option of the volume is too long, or holds a NUL byte")
    given = [option.strip() for option in options.get("o", "").split(",") if option.strip()]
    flags = tuple(option for option in given if option in FLAGS)
    data = tuple(option for option in given if option not in FLAGS)
    if any(option == "remount" for option in data):
        raise _invalid('invalid option: "remount": a volume is mounted afresh')
    if {"bind", "rbind"} & {*flags} and not options["device"].startswith("/"):
        raise _invalid(f"the device {options['device']!r} of a bind is not an absolute path")
    return Mounting(
        kind=options["type"],
        device=options["device"],
        flags=flags,
        data=data,
        server=_server(options["type"], data),
    )


def _server(kind: str, data: tuple[str, ...]) -> str:
    if kind not in _NFS:
        return ""
    address = next((option.removeprefix("addr=") for option in data if option.startswith("addr=")), "")
    if not address:
        raise _invalid("an nfs volume needs the server's address: -o o=addr=ADDRESS,…")
    return address


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="SPEC_INVALID")
