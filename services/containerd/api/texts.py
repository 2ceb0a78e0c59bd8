"""What holds for every text and for the whole of a specification, whatever it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from beeyard.container.v1 import spec_pb2

SPEC_BYTES_MAX = 4 << 20
"""Of a specification without the content of its files: several fit into one message of a list."""


def check_spec(spec: spec_pb2.ContainerSpec) -> None:
    """Refuse a specification that is too large, or has a text that no program and no kernel can be given.

    Raises:
        errors.Invalid: SPEC_INVALID.
    """
    if spec.ByteSize() - sum(len(file.data) for file in spec.files) > SPEC_BYTES_MAX:
        raise errors.Invalid(
            f"the specification is larger than {SPEC_BYTES_MAX} bytes, not counting the content of its files",
            reason="SPEC_INVALID",
        )
    refuse_nul(spec)


def refuse_nul(message: Message) -> None:
    """Refuse a message with a text that holds a NUL byte, and name it.

    Raises:
        errors.Invalid: SPEC_INVALID.
    """
    for place, text in _texts(message, ""):
        if "\0" in text:
            raise errors.Invalid(f"{place} holds a NUL byte: {text[:80]!r}", reason="SPEC_INVALID")


def _texts(message: Message, above: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        place = f"{above}{field.name}"
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            for key in value:
                yield place, key
                yield from _of(entry.fields_by_name["value"], value[key], f"{place}[{key[:80]!r}]")
        elif field.is_repeated:
            for each in value:
                yield from _of(field, each, place)
        else:
            yield from _of(field, value, place)


def _of(field: FieldDescriptor, value: Any, place: str) -> Iterator[tuple[str, str]]:
    if field.message_type is not None:
        yield from _texts(value, f"{place}.")
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield place, value
