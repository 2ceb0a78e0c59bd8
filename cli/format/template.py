r"""Go's text/template, as far as people use it with `--format`.

A template is text with actions in `{{ }}`: fields (`.Names`, `.State.Pid`), pipelines (`.Labels | json`), functions,
`if`/`else`/`end`, `range`/`else`/`end` with `break` and `continue`, `with`/`else`/`end`, variables (`$x := .Y`, and
`$x = .Z` wherever it was declared), `define`/`template`/`block`, `{{- -}}` trimming and comments.
Source: https://pkg.go.dev/text/template; the functions are those of Docker's command line and Go's own but for `call`.

Two steps, both pure: `parse` turns text into a tree or raises TemplateError with the place; `Template.render` walks it
over plain values (dict, list, str, int, float, bool, None, what `values` adds; a callable is a method). A field that
the value does not have is an error, so that a typo is not printed as nothing.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.format import syntax
from cli.format.functions import FUNCTIONS, LAZY, TITLE_FUNCTIONS
from cli.format.syntax import Block, Call, Field, Jump, Literal, NodeType, Operand, Pipeline, Text, Use
from cli.format.values import NO_MAP, NO_VALUE, Nil, OpenMap, TemplateError, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["OpenMap", "Template", "TemplateError", "parse"]

USES_MAX = 100
"""So deep may templates use templates."""
RANGE_MAX = 1_000_000


class _Jumped(Exception):
    """A `break` or `continue` on its way to its range."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Scope(ChainMap[str, object]):
    """Variables: declared in the innermost block, found in those around it. And what functions do."""

    functions: Mapping[str, Callable[..., object]] = FUNCTIONS

    def inner(self, variables: dict[str, object]) -> _Scope:
        """Return the scope of a block, with the variables that it begins with."""
        scope = _Scope(variables, *self.maps)
        scope.functions = self.functions
        return scope

    def assign(self, name: str, value: object) -> None:
        """Change a variable where it was declared."""
        for block in self.maps:
            if name in block:
                block[name] = value
                return
        raise TemplateError(f"undefined variable {name!r}")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    parsed: syntax.Parsed

    def render(self, value: object) -> str:
        """Expand it over a value. Raises TemplateError if a field or operand does not fit."""
        try:
            return "".join(_Renderer(self.parsed.definitions).render(self.parsed.nodes, value, _top(value)))
        except RecursionError:
            raise TemplateError("templates and blocks are nested too deep") from None

    def titles(self, headers: Mapping[str, str]) -> str:
        """Expand it over the titles of its fields; one without is called as the field, in capitals.

        What only values can be expanded over gives the titles of the fields alone.
        """
        fields = list(dict.fromkeys(name for node in self.parsed.nodes for name in _fields(node)))
        row: dict[str, object] = {name: headers.get(name, name.upper()) for name in fields}
        if "Label" in row:
            row["Label"] = lambda name: name
        scope = _top(row, TITLE_FUNCTIONS)
        try:
            return "".join(_Renderer(self.parsed.definitions).render(self.parsed.nodes, row, scope))
        except (TemplateError, RecursionError):
            return "\t".join(headers.get(name, name.upper()) for name in fields)


def parse(source: str) -> Template:
    """Parse a template. Raises TemplateError."""
    return Template(syntax.parse(source))


def _top(value: object, functions: Mapping[str, Callable[..., object]] = FUNCTIONS) -> _Scope:
    scope = _Scope({"$": value})
    scope.functions = functions
    return scope


def _fields(node: NodeType | Operand) -> Iterator[str]:
    match node:
        case Field(base=".", names=(first, *_)):
            yield first
        case Field(base=Pipeline() as inner) | Use(pipeline=Pipeline() as inner):
            yield from _fields(inner)
        case Pipeline(calls=calls):
            for call in calls:
                for operand in call.operands:
                    yield from _fields(operand)
        case Block(pipeline=pipeline, body=body, otherwise=otherwise):
            for part in (pipeline, *body, *otherwise):
                yield from _fields(part)
        case _:
            return


class _Renderer:
    """Walks the tree once.

    Args:
        definitions: Templates by name.
    """

    def __init__(self, definitions: Mapping[str, tuple[NodeType, ...]]) -> None:
        self._definitions = definitions
        self._depth = 0

    def render(self, nodes: Sequence[NodeType], dot: object, scope: _Scope) -> Iterator[str]:
        for node in nodes:
            match node:
                case Text(text=text):
                    yield text
                case Pipeline():
                    value = _evaluate(node, dot, scope)
                    if not node.variables:
                        yield show(value)
                    elif node.assigns:
                        scope.assign(node.variables[0], value)
                    else:
                        scope[node.variables[0]] = value
                case Jump(kind=kind):
                    raise _Jumped(kind)
                case Use():
                    yield from self._use(node, dot, scope)
                case Block():
                    yield from self._block(node, dot, scope)

    def _use(self, use: Use, dot: object, scope: _Scope) -> Iterator[str]:
        if use.name not in self._definitions:
            raise TemplateError(f"template {use.name!r} is not defined")
        if self._depth >= USES_MAX:
            raise TemplateError(f"templates use each other more than {USES_MAX} deep")
        given = _evaluate(use.pipeline, dot, scope) if use.pipeline is not None else NO_VALUE
        self._depth += 1
        yield from self.render(self._definitions[use.name], given, _top(given, scope.functions))
        self._depth -= 1

    def _block(self, block: Block, dot: object, scope: _Scope) -> Iterator[str]:
        value = _evaluate(block.pipeline, dot, scope)
        if block.kind == "range":
            yield from self._range(block, value, dot, scope)
            return
        inner = scope.inner(dict.fromkeys(block.pipeline.variables, value))
        if value:
            yield from self.render(block.body, value if block.kind == "with" else dot, inner)
        else:
            yield from self.render(block.otherwise, dot, inner)

    def _range(self, block: Block, value: object, dot: object, scope: _Scope) -> Iterator[str]:
        names = block.pipeline.variables
        items = _items(value)
        for key, item in items:
            pair = {names[0]: key, names[1]: item} if len(names) == 2 else dict.fromkeys(names, item)
            inner = scope.inner({} if block.pipeline.assigns else pair)
            for name in pair if block.pipeline.assigns else ():
                scope.assign(name, pair[name])
            try:
                yield from self.render(block.body, item, inner)
            except _Jumped as jumped:
                if jumped.kind == "break":
                    break
        if not items:
            yield from self.render(block.otherwise, dot, scope.inner({}))


def _items(value: object) -> list[tuple[object, object]]:
    match value:
        case dict():
            return sorted(value.items())
        case list() | tuple():
            return list(enumerate(value))
        case None | "" | Nil():
            return []
        case int() if not isinstance(value, bool) and value <= RANGE_MAX:
            return [(number, number) for number in range(value)]
        case _:
            raise TemplateError(f"range cannot iterate over {show(value)[:40]!r}")


def _evaluate(pipeline: Pipeline, dot: object, scope: _Scope) -> object:
    value: object = None
    for position, call in enumerate(pipeline.calls):
        piped = (value,) if position else ()
        value = _lazy(call, piped, dot, scope) if call.name in LAZY else _call(call, piped, dot, scope)
    return value


def _lazy(call: Call, piped: tuple[object, ...], dot: object, scope: _Scope) -> object:
    value: object = None
    for operand in (*call.operands, *map(Literal, piped)):
        value = _operand(operand, dot, scope)
        if bool(value) is LAZY[call.name]:
            break
    return value


def _call(call: Call, piped: tuple[object, ...], dot: object, scope: _Scope) -> object:
    operands = [*(_operand(operand, dot, scope) for operand in call.operands), *piped]
    function = scope.functions.get(call.name) or operands.pop(0)
    if not callable(function):
        if operands:
            raise TemplateError(f"{show(function)[:40]!r} is a value, no function")
        return function
    try:
        return function(*operands)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as exc:
        shown = " ".join(show(operand)[:40] for operand in operands)
        raise TemplateError(f"{call.name} {shown}: {exc}".strip()) from None


def _operand(operand: Operand, dot: object, scope: _Scope) -> object:
    match operand:
        case Literal(value=value):
            return value
        case Pipeline():
            return _evaluate(operand, dot, scope)
        case Field(base=base, names=names):
            if isinstance(base, Pipeline):
                value = _evaluate(base, dot, scope)
            elif base == ".":
                value = dot
            elif base in scope:
                value = scope[base]
            else:
                raise TemplateError(f"undefined variable {base!r}")
            for name in names:
                value = _field(value, name)
            return value


def _field(value: object, name: str) -> object:
    if value is NO_MAP:
        return NO_VALUE
    if not isinstance(value, dict):
        raise TemplateError(f"cannot take .{name} of {show(value)[:40]!r}")
    if name in value:
        return value[name]
    if isinstance(value, OpenMap):
        return NO_VALUE
    known = ", ".join(sorted(str(key) for key in value)[:30])
    raise TemplateError(
        f"there is no field .{name}: there is {known}" if known else f"there is no field .{name}"
    )
