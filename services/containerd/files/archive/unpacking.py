"""Unpacks an archive into a directory of a container or volume."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.files.archive import root as roots
from services.containerd.files.archive.kernel_views import Views
from services.containerd.files.archive.packing import takes_xattr
from services.kit import errors
from services.kit.tar import path as paths
from services.kit.tar.entry import invalid, show
from services.kit.tar.ids import IDENTITY, IdMap
from services.kit.tar.make import Maker
from services.kit.tar.unpack import Unpacker

if TYPE_CHECKING:
    from services.kit.tar.entry import Entry
    from services.kit.tar.path import Parts
    from services.kit.tar.source import Source

BYTES_MAX = 1 << 50
"""Of file data in one archive: a bound against sizes that are made up, above what any disk here holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking:
    """How to unpack."""

    keep_owner: bool = True
    """Whether files belong to who owned them when they were packed; else to the container's root."""
    refuse_other_kind: bool = True
    """Whether a directory in the place of a file, and the reverse, is an error; else what is there goes."""
    with_root: bool = False
    """Whether the target directory itself gets the attributes that the archive has for it."""
    ids: IdMap = IDENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What it came to."""

    entry_count: int
    size_bytes: int
    """Bytes of file data."""


def unpack(source: Source, root: int, into: bytes, unpacking: Unpacking) -> Unpacked:
    """Unpack `source` into the directory at the path `into` of the root.

    Nothing is written outside the root, whatever the archive says and whoever changes the tree meanwhile: the directory
    of each entry is opened by the kernel with the root as `/`, and a link, also one that the archive has brought, leads
    where it leads for the container's own processes. Devices are made as Docker does: the container's control group
    says what it may open. The setuid bits stay. What lies in a view of the kernel is refused.

    Args:
        source: The archive, uncompressed.
        root: Descriptor of the root; O_PATH is enough.
        into: A directory that exists; links are followed.
        unpacking: How.

    Raises:
        errors.BeeyardError: PATH_NOT_FOUND or PATH_NOT_A_DIRECTORY for `into`, PATH_NOT_A_FILE, and those of
            `Unpacker.unpack`.
    """
    target, views = roots.clean(into).removesuffix(b"/.").rstrip(b"/"), Views()
    total = 0

    def count_data(count: int) -> None:
        nonlocal total
        total += count
        if total > BYTES_MAX:
            raise invalid(f"it unpacks to more than {BYTES_MAX} bytes")

    def owner(entry: Entry) -> tuple[int, int]:
        wanted = (entry.uid, entry.gid) if unpacking.keep_owner else (0, 0)
        found = unpacking.ids.outside(*wanted)
        if found is None:
            raise errors.Invalid(
                f"{entry.shown_name!r} belongs to {wanted[0]}:{wanted[1]}, which the user namespace of the container"
                " does not have",
                reason="ID_NOT_MAPPED",
            )
        return found

    def open_parent(parts: Parts) -> int:
        path = target + b"/" + paths.join(parts)
        descriptor = roots.open_directory(root, path)
        if views.has(descriptor, os.fstat(descriptor)):
            os.close(descriptor)
            raise errors.Invalid(
                f"{show(path)} is a view of the kernel: no files can be put there", reason="PATH_NOT_A_FILE"
            )
        return descriptor

    try:
        os.close(open_parent(()))
    except OSError as exc:
        raise roots.path_error(exc, roots.clean(into)) from exc
    unpacker = Unpacker(
        open_parent,
        Maker(
            count_data=count_data,
            takes_xattr=takes_xattr,
            owner=owner,
            xattr=unpacking.ids.xattr_outside,
        ),
        refuse_other_kind=unpacking.refuse_other_kind,
        with_root=unpacking.with_root,
    )
    unpacker.unpack(source)
    return Unpacked(entry_count=unpacker.entry_count, size_bytes=total)
