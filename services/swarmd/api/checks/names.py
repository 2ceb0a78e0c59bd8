"""Names of objects."""

from __future__ import annotations

import re

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.api.checks.refusal import check_labels, invalid, shown

NAME_CHARS_MAX = 63
FILE_NAME_CHARS_MAX = 64

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?")
_FILE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?")


def check_annotations(field: str, annotations: objects_pb2.Annotations) -> None:
    """Check the name and the labels of a service, node or network; the name is one label of a domain name."""
    name = annotations.name
    if not name:
        raise invalid(f"{field}.name", "a name must be given")
    if len(name) > NAME_CHARS_MAX:
        raise invalid(f"{field}.name", f"the name must be {NAME_CHARS_MAX} characters or fewer")
    if _NAME.fullmatch(name) is None:
        raise invalid(
            f"{field}.name",
            f"{shown(name)} must be valid as a DNS name component: letters, digits, and - or _ between them",
        )
    check_labels(f"{field}.labels", annotations.labels)


def check_file_annotations(field: str, annotations: objects_pb2.Annotations) -> None:
    """Check the name and the labels of a secret or config."""
    name = annotations.name
    if not name or len(name) > FILE_NAME_CHARS_MAX or _FILE_NAME.fullmatch(name) is None:
        raise invalid(
            f"{field}.name",
            f"{shown(name)} must be 1 to {FILE_NAME_CHARS_MAX} of letters, digits, - _ . and begin and end with a"
            " letter or digit",
        )
    check_labels(f"{field}.labels", annotations.labels)
