"""Placement constraints: `node.labels.zone == east`. Pure.

Grammar of one expression: `key (== | !=) value`, blanks around each part trimmed. Expressions are ANDed. Values are
compared without regard to case and taken literally: there is no glob and no pattern. A label that a node does not
carry reads as "", so `!=` matches it. A key that names nothing of a node matches no node, whatever the operator:
an old manager must not place what it does not understand.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors
from services.swarmd.scheduler.core.nodes import canonical_architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.swarmd.scheduler.core.nodes import NodeView

_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE)
_OPERATOR = re.compile(r"==|!=")
_NODE_LABELS = "node.labels."
_ENGINE_LABELS = "engine.labels."
_PARSED_MAX = 4096

_ATTRIBUTES: dict[str, Callable[[NodeView], str]] = {
    "node.id": lambda node: node.id,
    "node.hostname": lambda node: node.hostname,
    "node.role": lambda node: node.role,
    "node.platform.os": lambda node: node.os,
    "node.platform.arch": lambda node: node.architecture,
}


class Operator(enum.Enum):
    """How the two sides of an expression are compared."""

    EQUAL = "=="
    NOT_EQUAL = "!="


@dataclass(frozen=True, slots=True)
class Constraint:
    """One parsed expression. The key keeps its case: label names have one."""

    key: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        return f"{self.key}{self.operator.value}{self.value}"


@functools.lru_cache(maxsize=_PARSED_MAX)
def parse(expression: str) -> Constraint:
    """Parse one expression.

    Raises:
        errors.Invalid: With a message that quotes the expression and says which part is wrong.
    """
    found = _OPERATOR.search(expression)
    if found is None:
        raise errors.Invalid(
            f"constraint {expression!r}: expected one operator, == or !=", reason="CONSTRAINT_INVALID"
        )
    key, value = expression[: found.start()].strip(), expression[found.end() :].strip()
    if not _KEY.fullmatch(key):
        raise errors.Invalid(
            f"constraint {expression!r}: key {key!r} is invalid", reason="CONSTRAINT_INVALID"
        )
    if not _VALUE.fullmatch(value):
        raise errors.Invalid(
            f"constraint {expression!r}: value {value!r} is invalid", reason="CONSTRAINT_INVALID"
        )
    return Constraint(key, Operator(found.group()), value)


def parse_all(expressions: Iterable[str]) -> tuple[Constraint, ...]:
    """Parse every expression; the first that is wrong raises as `parse` does."""
    return tuple(parse(expression) for expression in expressions)


def meets(expressions: Iterable[str], node: NodeView) -> bool:
    """Say whether a node meets the constraints of a stored spec; none meets what cannot be parsed."""
    try:
        return matches_all(parse_all(expressions), node)
    except errors.Invalid:
        return False


def matches_all(constraints: Iterable[Constraint], node: NodeView) -> bool:
    """Say whether the node meets every constraint."""
    return all(matches(constraint, node) for constraint in constraints)


def matches(constraint: Constraint, node: NodeView) -> bool:
    """Say whether the node meets one constraint."""
    key = constraint.key.lower()
    equal = constraint.operator is Operator.EQUAL
    if key == "node.ip":
        return _matches_address(constraint.value, node.address, equal=equal)
    actual = _attribute(key, constraint.key, node)
    if actual is None:
        return False
    wanted = constraint.value
    if key == "node.platform.arch":
        wanted = canonical_architecture(wanted)  # the node's is canonical already
    return (actual.casefold() == wanted.casefold()) is equal


def _attribute(key: str, written: str, node: NodeView) -> str | None:
    """Return what the node has for a key, or None if the key means nothing.

    The fixed part of a key is compared without case, a label's name with it.
    """
    attribute = _ATTRIBUTES.get(key)
    if attribute is not None:
        return attribute(node)
    if key.startswith(_NODE_LABELS) and len(key) > len(_NODE_LABELS):
        return node.labels.get(written[len(_NODE_LABELS) :], "")
    if key.startswith(_ENGINE_LABELS) and len(key) > len(_ENGINE_LABELS):
        return node.engine_labels.get(written[len(_ENGINE_LABELS) :], "")
    return None


def _matches_address(value: str, address: str, *, equal: bool) -> bool:
    """Compare a node's address with an address or a network in CIDR form; what is neither never matches."""
    try:
        network = ipaddress.ip_network(value, strict=False)
        actual = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (actual in network) is equal
