"""--mount, --volume and --tmpfs."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from beeyard.container.v1 import spec_pb2 as spec
from cli.specs.values import csv_fields, flag, invalid, whole
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Callable

_TYPES = {
    "bind": spec.MOUNT_TYPE_BIND,
    "volume": spec.MOUNT_TYPE_VOLUME,
    "tmpfs": spec.MOUNT_TYPE_TMPFS,
    "image": spec.MOUNT_TYPE_IMAGE,
}
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_VOLUME_MODES = frozenset(
    {"ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", *_PROPAGATIONS}
)


def parse_mount(text: str) -> spec.Mount:
    """Read a --mount value.

    Raises:
        errors.Invalid: A field is unknown, malformed, or does not fit the type.
    """
    mount = spec.Mount(type=spec.MOUNT_TYPE_VOLUME)
    kinds: set[str] = set()
    for field, value in csv_fields(text, "--mount"):
        kind, dash, _ = field.partition("-")
        if dash:
            kinds.add(kind)
        if field in _FLAGS:
            _FLAGS[field](mount, flag(value, field, "--mount"))
        elif field in _FIELDS and value is not None:
            _FIELDS[field](mount, value)
        elif field in _FIELDS:
            raise invalid(f"--mount {text!r}: field {field!r} needs a value")
        else:
            raise invalid(f"--mount {text!r}: unexpected field {field!r}")
    if not mount.target:
        raise invalid(f"--mount {text!r}: target is required")
    mount.target = _cleaned(mount.target)
    own = next(name for name, kind in _TYPES.items() if kind == mount.type)
    for kind in sorted(kinds - {own}):
        raise invalid(f"cannot mix '{kind}-*' options with mount type '{own}'")
    if mount.type == spec.MOUNT_TYPE_BIND and not mount.source:
        raise invalid(f"--mount {text!r}: a bind needs a source")
    if mount.type == spec.MOUNT_TYPE_TMPFS and mount.source:
        raise invalid(f"--mount {text!r}: a tmpfs has no source")
    return mount


def _set_type(mount: spec.Mount, value: str) -> None:
    if value.lower() not in _TYPES:
        raise invalid(f"--mount: type {value!r}: use {', '.join(_TYPES)}")
    mount.type = _TYPES[value.lower()]


def _set_source(mount: spec.Mount, value: str) -> None:
    mount.source = _absolute(value) if value.startswith((".", "~")) else value


def _absolute(path: str) -> str:
    """Return a path of the caller as the daemon must see it; links stay."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 (pathlib keeps `..`)


def _cleaned(target: str) -> str:
    """Return an absolute path of the container without `.`, `..` and spare slashes, by its text, as docker does."""
    return posixpath.normpath("/" + target.lstrip("/")) if target.startswith("/") else target


def _set_propagation(mount: spec.Mount, value: str) -> None:
    if value not in _PROPAGATIONS:
        raise invalid(f"--mount: bind-propagation {value!r}: use {', '.join(_PROPAGATIONS)}")
    mount.propagation = value


def _set_recursive(mount: spec.Mount, value: str) -> None:
    if value not in ("enabled", "disabled", "writable", "readonly"):
        raise invalid(f"--mount: bind-recursive {value!r}: use enabled, disabled, writable or readonly")
    mount.bind_recursive = value


def _set_mode(mount: spec.Mount, value: str) -> None:
    mount.tmpfs_mode = whole(value, "--mount: tmpfs-mode", base=8, most=0o7777)


def _put(field: str) -> Callable[[spec.Mount, str], None]:
    def put(mount: spec.Mount, value: str) -> None:
        entries = mount.volume_labels if field == "label" else mount.volume_options
        key, _, content = value.partition("=")
        entries[key] = content

    return put


def _text(field: str) -> Callable[[spec.Mount, str], None]:
    return lambda mount, value: setattr(mount, field, value)


_FIELDS: dict[str, Callable[[spec.Mount, str], None]] = {
    "type": _set_type,
    "source": _set_source,
    "src": _set_source,
    "target": _text("target"),
    "destination": _text("target"),
    "dst": _text("target"),
    "consistency": _text("consistency"),
    "bind-propagation": _set_propagation,
    "bind-recursive": _set_recursive,
    "volume-subpath": _text("volume_subpath"),
    "volume-driver": _text("volume_driver"),
    "volume-label": _put("label"),
    "volume-opt": _put("option"),
    "image-subpath": _text("image_subpath"),
    "tmpfs-size": lambda mount, value: setattr(mount, "tmpfs_size_bytes", units.parse_bytes(value)),
    "tmpfs-mode": _set_mode,
}
_FLAGS: dict[str, Callable[[spec.Mount, bool], None]] = {
    "readonly": lambda mount, value: setattr(mount, "read_only", value),
    "ro": lambda mount, value: setattr(mount, "read_only", value),
    "bind-nonrecursive": lambda mount, value: setattr(
        mount, "bind_recursive", "disabled" if value else "enabled"
    ),
    "bind-create-src": lambda mount, value: setattr(mount, "bind_create_source", value),
    "volume-nocopy": lambda mount, value: setattr(mount, "volume_no_copy", value),
}


def parse_volume(text: str) -> spec.Mount:
    """Read a -v value: [source:]target[:modes].

    Raises:
        errors.Invalid: It has too many parts, no target, or an unknown mode.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise invalid(f"--volume {text!r}: give [source:]target[:options]")
    if len(parts) == 1:
        return spec.Mount(type=spec.MOUNT_TYPE_VOLUME, target=_cleaned(parts[0]))
    if len(parts) == 2 and set(parts[1].split(",")) <= _VOLUME_MODES and not parts[1].startswith("/"):
        parts = ["", *parts]
    source, target, modes = parts[0], parts[1], parts[2].split(",") if len(parts) > 2 else []
    if unknown := set(modes) - _VOLUME_MODES:
        raise invalid(f"--volume {text!r}: unknown option {min(unknown)!r}")
    is_path = source.startswith(("/", ".", "~"))
    propagations = [mode for mode in modes if mode in _PROPAGATIONS]
    if {"ro", "rw"} <= {*modes} or {"z", "Z"} <= {*modes} or len(propagations) > 1:
        raise invalid(f"--volume {text!r}: options {parts[2]!r} contradict each other")
    if is_path and "nocopy" in modes:
        raise invalid(f"--volume {text!r}: 'nocopy' is for volumes, and this is a path of the host")
    if not is_path and propagations:
        raise invalid(
            f"--volume {text!r}: {propagations[0]!r} is for paths of the host, and this is a volume"
        )
    return spec.Mount(
        type=spec.MOUNT_TYPE_BIND if is_path else spec.MOUNT_TYPE_VOLUME,
        source=_absolute(source) if is_path else source,
        target=_cleaned(target),
        read_only="ro" in modes,
        propagation="".join(propagations),
        volume_no_copy="nocopy" in modes,
        bind_create_source=is_path,  # as docker: -v makes the directory, --mount does not
    )


def parse_tmpfs(text: str) -> spec.Mount:
    """Read a --tmpfs value: target[:options]."""
    target, _, options = text.partition(":")
    if not target:
        raise invalid(f"--tmpfs {text!r}: give target[:options]")
    mount = spec.Mount(type=spec.MOUNT_TYPE_TMPFS, target=_cleaned(target))
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size" and value and not value.endswith("%"):
            mount.tmpfs_size_bytes = units.parse_bytes(value)
        elif key == "mode" and value:
            _set_mode(mount, value)
        elif option == "ro":
            mount.read_only = True
        elif option != "rw":
            mount.tmpfs_options.append(option)
    return mount
