"""The content of files that were given with a specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.model.spec import InlineFile


def content(file: InlineFile) -> bytes:
    """Return what is in a file.

    Raises:
        errors.FailedPrecondition: It is not here any more (FILES_GONE).
    """
    if file.data is None:
        raise errors.FailedPrecondition(
            f"the content of the file {file.path} is gone: it is kept in memory only, and does not outlive the machine;"
            " make a new container",
            reason="FILES_GONE",
        )
    return file.data
