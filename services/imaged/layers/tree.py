"""The directory that a layer is unpacked into.

Rules that keep an archive inside it, whatever the archive says:

1. Every system call names one component relative to the descriptor of its directory. A directory's descriptor comes
   from its parent's with O_NOFOLLOW, from the root down: no call ever follows a link of the archive.
2. A path that goes through a link is resolved here, component by component, with the root of the tree as "/" and as
   its own parent, as the container will see it. Then rule 1 applies to the result.
3. Nothing that exists is opened for writing: a file is made with O_EXCL, after what was there has been removed. So
   neither a device, nor a fifo, nor a hard link that an earlier entry made is ever written through.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING

from services.imaged.layers import whiteout
from services.kit.tar import path as paths
from services.kit.tar.entry import invalid, show

if TYPE_CHECKING:
    from services.imaged.layers.lower import Found, LowerTree
    from services.kit.tar.path import Parts

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORIES_OPEN_MAX = 64
_LINKS_FOLLOWED_MAX = 40
_IMPLIED_MODE = 0o755


class Tree:
    """Finds and makes directories below a root, and removes what is in an entry's way.

    Args:
        root: Descriptor of the directory; stays the caller's.
        lower: The layers below; None if the root directory holds the merged tree itself.
    """

    def __init__(self, root: int, lower: LowerTree | None) -> None:
        self.root = root
        self.lower = lower
        self.implied: dict[Parts, Found] = {}
        """Directories made only because something is in them, with the lower directory that each stands for."""
        self.entered: dict[Parts, int] = {}
        """Of a merged tree: modification times of the directories that were there before, to be put back."""
        self._open: dict[Parts, tuple[int, Parts]] = {}
        self._retired: list[int] = []

    def close(self) -> None:
        """Close the descriptors that are kept."""
        self.forget()
        self._close_retired()

    def forget(self) -> None:
        """Drop what is known of paths, because a directory or a link is gone. Closes nothing yet."""
        self._retired += [descriptor for descriptor, _ in self._open.values()]
        self._open.clear()

    def directory(self, parts: Parts, *, create: bool = True) -> tuple[int, Parts]:
        """Return the descriptor of a directory, open until the next call, and its path without links.

        Args:
            parts: Path; links in it are followed inside the tree.
            create: Whether a missing directory is made.

        Raises:
            errors.Invalid: A component is not a directory, or a link in it leads nowhere.
            FileNotFoundError: It is missing and `create` is false.
        """
        if self._retired:
            self._close_retired()
        known = self._open.get(parts)
        return known if known is not None else self._directory(parts, create, 0)

    def open_exactly(self, parts: Parts) -> int | None:
        """Return a new descriptor of the directory at a path without links; None if there is none any more."""
        descriptor = os.dup(self.root)
        for part in parts:
            try:
                inner = os.open(part, DIRECTORY_FLAGS, dir_fd=descriptor)
            except OSError:
                return None
            finally:
                os.close(descriptor)
            descriptor = inner
        return descriptor

    def clear_way(self, directory: int, name: bytes) -> None:
        """Remove whatever has this name, with all that is in it."""
        status = os.lstat(name, dir_fd=directory)
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(os.fsdecode(name), dir_fd=directory)
            self.forget()
            return
        os.unlink(name, dir_fd=directory)
        if stat.S_ISLNK(status.st_mode):
            self.forget()

    def _directory(self, parts: Parts, create: bool, links: int) -> tuple[int, Parts]:
        if not parts:
            return self.root, ()
        known = self._open.get(parts)
        if known is not None:
            return known
        parent, parent_parts = self._directory(parts[:-1], create, links)
        here = (*parent_parts, parts[-1])
        try:
            descriptor = os.open(parts[-1], DIRECTORY_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            found = self.lower.find(here) if self.lower else None
            if found is not None and found.is_symlink:
                target = os.readlink(found.path)  # noqa: PTH115 (the path is bytes)
                return self._through(parts, parent_parts, target, create, links)
            stands_for = found if found is not None and found.is_directory else None
            if stands_for is None and not create:
                raise
            descriptor = self._make_implied(parent, here, stands_for)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise
            status = os.lstat(parts[-1], dir_fd=parent)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(parts[-1], dir_fd=parent)
                return self._through(parts, parent_parts, target, create, links)
            if not (create and self.lower is not None and whiteout.is_overlay_whiteout(status)):
                raise invalid(f"{show(paths.join(parts))!r} is used as a directory, but is none") from None
            os.unlink(parts[-1], dir_fd=parent)
            descriptor = self._make_implied(parent, here, None)
            whiteout.mark_opaque(descriptor)  # what this layer has removed must not come back inside
        if self.lower is None and here not in self.entered:
            self.entered[here] = os.fstat(descriptor).st_mtime_ns
        return self._keep(parts, descriptor, here)

    def _through(
        self, parts: Parts, parent: Parts, target: bytes, create: bool, links: int
    ) -> tuple[int, Parts]:
        """Return the directory that a link stands for. It must be there: an archive cannot make one through a link."""
        if links >= _LINKS_FOLLOWED_MAX:
            raise invalid(f"{show(paths.join(parts))!r} goes through too many links")
        descriptor, here = self._directory(() if target.startswith(b"/") else parent, False, links + 1)
        try:
            for piece in target.split(b"/"):
                if piece in {b"", b"."}:
                    continue
                wanted = here[:-1] if piece == b".." else (*here, piece)
                descriptor, here = self._directory(wanted, False, links + 1)
        except FileNotFoundError:
            if not create:
                raise
            raise invalid(
                f"{show(paths.join(parts))!r} is a link to {show(target)!r}, which leads to no directory of the image"
            ) from None
        return self._keep(parts, os.dup(descriptor), here)

    def _make_implied(self, parent: int, here: Parts, stands_for: Found | None) -> int:
        name = here[-1]
        os.mkdir(name, _IMPLIED_MODE, dir_fd=parent)
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        os.fchown(descriptor, 0, 0)  # the parent may pass on its group
        os.fchmod(descriptor, _IMPLIED_MODE)
        if stands_for is not None:
            copy_attributes(stands_for, descriptor)
            self.implied[here] = stands_for
        return descriptor

    def _keep(self, parts: Parts, descriptor: int, here: Parts) -> tuple[int, Parts]:
        self._open[parts] = (descriptor, here)
        if len(self._open) > _DIRECTORIES_OPEN_MAX:
            oldest, _ = self._open.pop(next(iter(self._open)))
            self._retired.append(oldest)
        return descriptor, here

    def _close_retired(self) -> None:
        for descriptor in self._retired:
            os.close(descriptor)
        self._retired.clear()


def copy_attributes(source: Found, target: int) -> None:
    """Give an open file the owner, mode and extended attributes of another; not its times."""
    os.fchown(target, source.status.st_uid, source.status.st_gid)
    os.fchmod(target, stat.S_IMODE(source.status.st_mode))
    for name in os.listxattr(source.path, follow_symlinks=False):
        if not whiteout.is_overlay_xattr(name):
            os.setxattr(target, name, os.getxattr(source.path, name, follow_symlinks=False))
