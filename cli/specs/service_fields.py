"""The small grammars of service options: preferences, generic resources, networks, secrets and configs."""

from __future__ import annotations

import shlex

from beeyard.swarm.v1 import objects_pb2 as swarm
from cli.specs import values


def words(text: str, option: str) -> list[str]:
    """Split a command line as a shell would.

    Raises:
        errors.Invalid: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise values.invalid(f"{option} {text!r}: {exc}") from None


def preference(text: str) -> str:
    """Read a --placement-pref value, and return the label to spread over.

    Raises:
        errors.Invalid: It is malformed.
    """
    strategy, _, key = text.partition("=")
    if strategy != "spread" or not key:
        raise values.invalid(f"--placement-pref {text!r}: give spread=node.labels.KEY")
    return key


def generic(texts: tuple[str, ...]) -> dict[str, int]:
    """Read --generic-resource values.

    Raises:
        errors.Invalid: One is malformed.
    """
    found = {}
    for text in texts:
        key, value = values.key_value(text, "--generic-resource")
        found[key] = values.whole(value, f"--generic-resource {key}")
    return found


def network(text: str) -> swarm.NetworkAttachment:
    """Read a --network value: a name, or name=…,alias=…,driver-opt=….

    Raises:
        errors.Invalid: It is malformed.
    """
    if "=" not in text:
        return swarm.NetworkAttachment(target=text)
    attachment = swarm.NetworkAttachment()
    for field, value in values.csv_fields(text, "--network"):
        match field:
            case "name" if value:
                attachment.target = value
            case "alias" if value:
                attachment.aliases.append(value)
            case "driver-opt" if value:
                key, content = values.key_value(value, "--network driver-opt")
                attachment.options[key] = content
            case _:
                raise values.invalid(f"--network {text!r}: unexpected field {field!r}")
    if not attachment.target:
        raise values.invalid(f"--network {text!r}: field name is missing")
    return attachment


def file_reference(text: str, option: str, base: str) -> swarm.FileReference:
    """Read a --secret or --config value: a name, or source=…,target=…,uid=…,gid=…,mode=….

    Args:
        text: The value.
        option: Its name.
        base: Directory of targets that are no absolute paths.

    Raises:
        errors.Invalid: It is malformed.
    """
    reference = swarm.FileReference(uid="0", gid="0", mode=0o444)
    for field, value in [("source", text)] if "=" not in text else values.csv_fields(text, option):
        match field:
            case "source" | "src" if value:
                reference.name = value
            case "target" if value:
                reference.target = value
            case "uid" | "gid" if value:
                setattr(reference, field, value)
            case "mode" if value:
                reference.mode = values.whole(value, f"{option}: mode", base=8, most=0o7777)
            case _:
                raise values.invalid(f"{option} {text!r}: unexpected field {field!r}")
    if not reference.name:
        raise values.invalid(f"{option} {text!r}: source is required")
    target = reference.target or reference.name
    reference.target = target if target.startswith("/") else f"{base}{target}"
    return reference
