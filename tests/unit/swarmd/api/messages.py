"""Any message of a type, as a stranger could send it: every field absent, small, huge, negative, or odd text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from services.kit import errors

M = TypeVar("M", bound=Message)


def refusal_of(
    check: Callable[..., object], *arguments: object, **keywords: object
) -> errors.BeeyardError | None:
    """Return how a check refuses something; None if it accepts it. Nothing else may come out of it."""
    try:
        check(*arguments, **keywords)
    except errors.BeeyardError as exc:
        return exc
    return None


TEXTS = st.one_of(
    st.sampled_from(
        (
            "",
            "web",
            "web:1",
            "Web",
            "/",
            "/a",
            "/a/../..",
            "a=b",
            "=b",
            "node.role==manager",
            "node.role=manager",
            "CMD",
            "NONE",
            "\0",
            "x" * 300,
            "ä",
            "tcp",
            "host",
            "container:x",
            "0-3",
            "-1",
        )
    ),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace").decode()),
)
DEPTH_MAX = 4
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Any value of one field that is not repeated."""
    kind = field.cpp_type
    if kind in _BITS:
        low, high = _BITS[kind]
        return st.sampled_from((low, 0, 1, 2, 80, 8080, 1_000_000, high)).filter(lambda n: low <= n <= high)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from((*(value.number for value in field.enum_type.values), 77))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_FLOAT:
        return st.floats(width=32)
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats()
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return TEXTS if field.type != FieldDescriptor.TYPE_BYTES else st.binary(max_size=8)
    return messages(GetMessageClass(field.message_type), depth + 1)


@st.composite
def messages(draw: st.DrawFn, kind: type[M], depth: int = 0) -> M:
    """Any message of a type."""
    message = kind()
    descriptor: Descriptor = message.DESCRIPTOR
    fields = list(descriptor.fields)
    if depth < DEPTH_MAX:
        for field in draw(st.lists(st.sampled_from(fields), max_size=6)) if fields else ():
            _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    target = getattr(message, field.name)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        if value.message_type is None:
            target[draw(values(key, depth))] = draw(values(value, depth))
    elif hasattr(target, "extend"):
        target.extend(draw(st.lists(values(field, depth), max_size=3)))
    elif field.message_type is not None:
        target.CopyFrom(draw(values(field, depth)))
    else:
        setattr(message, field.name, draw(values(field, depth)))
