"""Secrets and configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.kit import errors
from services.swarmd.api.checks.names import check_file_annotations
from services.swarmd.api.checks.refusal import invalid, shown

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2

SECRET_BYTES_MAX = 500 * 1024 - 1
CONFIG_BYTES_MAX = 1000 * 1024 - 1

_TEMPLATE_DRIVERS = frozenset({"", "golang"})


class FileSpec(Protocol):
    """What the specs of secrets and configs have in common."""

    data: bytes
    template_driver: str

    @property
    def annotations(self) -> objects_pb2.Annotations:
        """Name and labels."""
        ...


def check_file(kind: str, spec: FileSpec, size_bytes_max: int, *, size_bytes_min: int) -> None:
    """Check a secret or a config.

    Raises:
        errors.Invalid: SPEC_INVALID.
        errors.Exhausted: SPEC_TOO_LARGE.
        errors.Unsupported: TEMPLATE_UNSUPPORTED.
    """
    check_file_annotations("annotations", spec.annotations)
    size_bytes = len(spec.data)
    if size_bytes < size_bytes_min:
        raise invalid("data", f"a {kind} has at least {size_bytes_min} byte")
    if size_bytes > size_bytes_max:
        raise errors.Exhausted(
            f"the {kind} is of {size_bytes} bytes, more than {size_bytes_max}",
            reason="SPEC_TOO_LARGE",
            metadata={"size_bytes": str(size_bytes), "size_bytes_max": str(size_bytes_max)},
        )
    if spec.template_driver not in _TEMPLATE_DRIVERS:
        raise invalid("template_driver", f"{shown(spec.template_driver)} is not golang")
    if spec.template_driver:
        raise errors.Unsupported(
            f"templates in a {kind} are not supported: create it without a template driver",
            reason="TEMPLATE_UNSUPPORTED",
        )
