r"""Go's text/template, as far as people use it with `--format`.

A template is text with actions in `{{ }}`: fields (`.Names`, `.State.Pid`), pipelines (`.Labels | json`), functions,
`if`/`else`/`end`, `range`/`else`/`end` with `break` and `continue`, `with`/`else`/`end`, variables (`$x := .Y`),
`{{- -}}` trimming and comments. `define` and `template` are left out.
Source: https://pkg.go.dev/text/template; the functions are those of Docker's command line and the usual built-ins.

Two steps, both pure: `parse` turns text into a tree or raises TemplateError with the place; `Template.render` walks it
over plain values (dict, list, str, int, float, bool, None; a callable is a method). A field that the value does not
have is an error, so that a typo is not printed as nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEPTH_MAX = 50


class TemplateError(Exception):
    """The template is wrong, or does not fit the value; the message says where."""


# ------------------------------------------------------------------------------------------------ tree


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant operand."""

    value: object


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B` of the dot, of a variable, or of a parenthesised pipeline."""

    base: str | Pipeline
    """"." for the dot, "$" or "$name" for a variable."""
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its operands, or a lone operand (name is empty)."""

    name: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands; each gets the value of the one before as its last operand."""

    variables: tuple[str, ...]
    calls: tuple[Call, ...]
    assigns: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `range` or `with`."""

    kind: str
    pipeline: Pipeline
    body: tuple[NodeType, ...]
    otherwise: tuple[NodeType, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` or `continue`."""

    kind: str


Operand = Literal | Field | Pipeline
NodeType = Text | Pipeline | Block | Jump

_ACTION = re.compile(
    r"\{\{(-(?=\s))?\s*(/\*.*?\*/|(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|[^`\"])*?)\s*((?<=\s)-)?\}\}", re.DOTALL
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<char>'(?:\\.|[^'\\])')|(?P<number>[-+]?\d+(?:\.\d+)?)
    |(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<variable>\$\w*(?:\.[A-Za-z_]\w*)*)|(?P<dot>\.)
    |(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|[()|,=]))""",
    re.VERBOSE,
)


# ------------------------------------------------------------------------------------------------ parsing


def _pieces(source: str) -> Iterator[tuple[str, str, int]]:
    """Yield (kind, text, offset): text and actions in turn, with trimming applied."""
    position, trim = 0, False
    for match in _ACTION.finditer(source):
        text = source[position : match.start()]
        text = text.lstrip() if trim else text
        yield "text", text.rstrip() if match[1] else text, position
        if not match[2].startswith("/*"):
            yield "action", match[2], match.start()
        position, trim = match.end(), bool(match[3])
    rest = source[position:]
    if "{{" in rest:
        raise TemplateError(f"unclosed action at column {position + rest.index('{{') + 1}: {rest.strip()!r}")
    yield "text", rest.lstrip() if trim else rest, position


class _Parser:
    """Recursive descent over the pieces."""

    def __init__(self, source: str) -> None:
        self._pieces = list(_pieces(source))
        self._next = 0
        self._ranges = 0
        """How many `range` blocks we are in."""

    def parse(self) -> tuple[NodeType, ...]:
        nodes, end = self._nodes(0)
        if end:
            raise TemplateError(f"unexpected {{{{{end}}}}}")
        return nodes

    def _nodes(self, depth: int) -> tuple[tuple[NodeType, ...], str]:
        """Nodes up to an `end` or `else` that belongs to the caller, and which it was."""
        if depth > DEPTH_MAX:
            raise TemplateError(f"blocks are nested more than {DEPTH_MAX} deep")
        nodes: list[NodeType] = []
        while self._next < len(self._pieces):
            kind, text, offset = self._pieces[self._next]
            self._next += 1
            if kind == "text":
                if text:
                    nodes.append(Text(text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("end", "else"):
                return tuple(nodes), text.strip()
            if word in ("if", "range", "with"):
                nodes.append(self._block(word, rest, offset, depth))
            elif text.strip() in ("break", "continue"):
                if not self._ranges:
                    raise TemplateError(
                        f"{{{{{text.strip()}}}}} at column {offset + 1} is outside of a range"
                    )
                nodes.append(Jump(text.strip()))
            else:
                nodes.append(_pipeline(text, offset))
        return tuple(nodes), ""

    def _block(self, kind: str, condition: str, offset: int, depth: int) -> Block:
        pipeline = _pipeline(condition, offset)
        self._ranges += kind == "range"
        body, end = self._nodes(depth + 1)
        self._ranges -= kind == "range"
        otherwise: tuple[NodeType, ...] = ()
        if end.startswith("else"):
            rest = end[4:].strip()
            if rest.startswith("if "):
                otherwise = (self._block("if", rest[3:], offset, depth + 1),)
                return Block(kind, pipeline, body, otherwise)
            if rest:
                raise TemplateError(f"unexpected {rest!r} after else")
            otherwise, end = self._nodes(depth + 1)
        if end != "end":
            raise TemplateError(f"{{{{{kind} …}}}} at column {offset + 1} has no {{{{end}}}}")
        return Block(kind, pipeline, body, otherwise)


def _pipeline(text: str, offset: int) -> Pipeline:
    tokens = _tokens(text, offset)
    pipeline, rest = _read_pipeline(tokens, text, 0)
    if rest:
        raise TemplateError(f"unexpected {rest[0][1]!r} in {{{{{text}}}}}")
    return pipeline


def _tokens(text: str, offset: int) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise TemplateError(
                f"unexpected {text[position:].strip()[:10]!r} at column {offset + position + 1}"
            )
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    if not tokens:
        raise TemplateError(f"missing value in an empty action at column {offset + 1}")
    return tokens


def _read_pipeline(
    tokens: list[tuple[str, str]], text: str, depth: int
) -> tuple[Pipeline, list[tuple[str, str]]]:
    """Read `[$a[, $b] :=] call {| call}` and return what follows it."""
    if depth > DEPTH_MAX:
        raise TemplateError(f"parentheses are nested more than {DEPTH_MAX} deep in {{{{{text}}}}}")
    variables: list[str] = []
    assigns = False
    signs = [value for kind, value in tokens[:4] if kind == "sign"]
    if tokens[0][0] == "variable" and signs and signs[0] in (",", ":=", "="):
        while True:
            variables.append(tokens[0][1])
            sign = tokens[1][1] if len(tokens) > 1 else ""
            tokens = tokens[2:]
            if sign in (":=", "="):
                assigns = sign == "="
                break
            if sign != "," or not tokens or tokens[0][0] != "variable":
                raise TemplateError(f"a declaration is broken in {{{{{text}}}}}")
    calls: list[Call] = []
    while True:
        call, tokens = _read_call(tokens, text, depth)
        calls.append(call)
        if not tokens or tokens[0][1] != "|":
            return Pipeline(tuple(variables), tuple(calls), assigns), tokens
        tokens = tokens[1:]


def _read_call(tokens: list[tuple[str, str]], text: str, depth: int) -> tuple[Call, list[tuple[str, str]]]:
    name = ""
    if tokens and tokens[0][0] == "word" and tokens[0][1] not in ("true", "false", "nil"):
        name = tokens[0][1]
        if name not in FUNCTIONS:
            raise TemplateError(
                f"function {name!r} is not defined: use one of {', '.join(sorted(FUNCTIONS))}"
            )
        tokens = tokens[1:]
    operands: list[Operand] = []
    while tokens and tokens[0][1] not in ("|", ")"):
        operand, tokens = _read_operand(tokens, text, depth)
        operands.append(operand)
    if not operands and not name:
        raise TemplateError(f"missing value in {{{{{text}}}}}")
    if not name and len(operands) > 1 and not isinstance(operands[0], Field):
        raise TemplateError(f"{{{{{text}}}}} is no function call")
    return Call(name, tuple(operands)), tokens


def _read_operand(
    tokens: list[tuple[str, str]], text: str, depth: int
) -> tuple[Operand, list[tuple[str, str]]]:
    (kind, value), tokens = tokens[0], tokens[1:]
    match kind:
        case "string":
            return Literal(value[1:-1] if value[0] == "`" else _unquote(value)), tokens
        case "char":
            return Literal(ord(_unquote(f'"{value[1:-1]}"'))), tokens
        case "number":
            return Literal(float(value) if "." in value else int(value)), tokens
        case "field":
            return Field(".", tuple(value[1:].split("."))), tokens
        case "dot":
            return Field(".", ()), tokens
        case "variable":
            base, *names = value.split(".")
            return Field(base, tuple(names)), tokens
        case "word" if value in ("true", "false", "nil"):
            return Literal({"true": True, "false": False, "nil": None}[value]), tokens
        case "sign" if value == "(":
            inner, tokens = _read_pipeline(tokens, text, depth + 1)
            if not tokens or tokens[0][1] != ")":
                raise TemplateError(f"missing ) in {{{{{text}}}}}")
            tokens = tokens[1:]
            if tokens and tokens[0][0] == "field":
                return Field(inner, tuple(tokens[0][1][1:].split("."))), tokens[1:]
            return inner, tokens
        case _:
            raise TemplateError(f"unexpected {value!r} in {{{{{text}}}}}")


def _unquote(quoted: str) -> str:
    try:
        return str(json.loads(quoted.replace("\\'", "'").replace("\t", "\\t").replace("\n", "\\n")))
    except ValueError:
        raise TemplateError(f"bad string {quoted}") from None


# ------------------------------------------------------------------------------------------------ functions


class OpenMap(dict[str, object]):
    """A mapping whose keys are data: one that is not there has no value, where a field would be an error."""


def show(value: object) -> str:
    """Print a value as Go would with %v."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    return str(value)


def _truth(value: object) -> bool:
    return bool(value)


def _index(value: Any, *keys: Any) -> object:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, list | tuple | str) and isinstance(key, int) and not isinstance(key, bool):
            if not 0 <= key < len(value):
                raise TemplateError(f"index {key} is out of range of {len(value)} elements")
            value = value[key]
        else:
            raise TemplateError(f"cannot index {show(value)[:40]!r} with {show(key)!r}")
    return value


def _compare(sign: str) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        try:
            return bool(
                {"lt": left < right, "le": left <= right, "gt": left > right, "ge": left >= right}[sign]
            )
        except TypeError:
            raise TemplateError(f"{sign}: cannot compare {show(left)!r} and {show(right)!r}") from None

    return compare


def _printf(layout: object, *values: object) -> str:
    rest = list(values)

    def one(match: re.Match[str]) -> str:
        if match[2] == "%":
            return "%"
        if not rest:
            return f"%!{match[2]}(MISSING)"
        value = rest.pop(0)
        match match[2]:
            case "q":
                return json.dumps(show(value), ensure_ascii=False)
            case "v" | "s":
                return f"%{match[1]}s" % show(value)
            case kind if isinstance(value, int | float):
                return f"%{match[1]}{kind}" % value
            case kind:
                return f"%!{kind}({show(value)})"

    return re.sub(r"%([-+# 0]*\d*(?:\.\d+)?)([a-zA-Z%])", one, show(layout))


def _slice(value: Any, *bounds: int) -> object:
    return value[bounds[0] if bounds else 0 : bounds[1] if len(bounds) > 1 else None]


def _plain(value: object) -> object:
    """Leave out the fields that are functions, such as `Label`: JSON has the data that they look into."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _pad(value: object, before: int, after: int) -> str:
    return " " * before + show(value) + " " * after if show(value) else ""


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "json": lambda value: json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":")),
    "join": lambda value, by: show(by).join(show(item) for item in value),
    "split": lambda value, by: show(value).split(show(by)),
    "upper": lambda value: show(value).upper(),
    "lower": lambda value: show(value).lower(),
    "title": lambda value: show(value).title(),
    "pad": _pad,
    "truncate": lambda value, length: show(value)[: int(length)],
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "print": lambda *values: "".join(show(value) for value in values),
    "printf": _printf,
    "len": len,
    "index": _index,
    "slice": _slice,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda left, right: left != right,
    "lt": _compare("lt"),
    "le": _compare("le"),
    "gt": _compare("gt"),
    "ge": _compare("ge"),
    "not": lambda value: not _truth(value),
    "and": lambda *values: next((value for value in values if not _truth(value)), values[-1]),
    "or": lambda *values: next((value for value in values if _truth(value)), values[-1]),
    "html": lambda value: show(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    "urlquery": lambda value: "".join(
        character
        if character.isalnum() or character in "-_.~"
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in show(value)
    ),
}


# ------------------------------------------------------------------------------------------------ rendering


class _Jumped(Exception):
    """A `break` or `continue` on its way to its range."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    nodes: tuple[NodeType, ...]

    def render(self, value: object) -> str:
        """Expand it over a value. Raises TemplateError if a field or operand does not fit."""
        return "".join(_render(self.nodes, value, {"$": value}))

    def fields(self) -> list[str]:
        """First names of the fields of the dot, in order: the columns of a table."""
        found: list[str] = []
        for node in self.nodes:
            for name in _fields(node):
                if name not in found:
                    found.append(name)
        return found


def parse(source: str) -> Template:
    """Parse a template. Raises TemplateError."""
    return Template(_Parser(source).parse())


def _fields(node: NodeType | Operand) -> Iterator[str]:
    match node:
        case Field(base=".", names=(first, *_)):
            yield first
        case Field(base=Pipeline() as inner):
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


def _render(nodes: Sequence[NodeType], dot: object, variables: dict[str, object]) -> Iterator[str]:
    for node in nodes:
        match node:
            case Text(text=text):
                yield text
            case Pipeline():
                value = _evaluate(node, dot, variables)
                if node.variables:
                    variables[node.variables[0]] = value
                else:
                    yield show(value)
            case Jump(kind=kind):
                raise _Jumped(kind)
            case Block():
                yield from _render_block(node, dot, variables)


def _render_block(block: Block, dot: object, variables: dict[str, object]) -> Iterator[str]:
    value = _evaluate(block.pipeline, dot, variables)
    names = block.pipeline.variables
    if block.kind != "range":
        inner = {**variables, **dict.fromkeys(names, value)}
        if _truth(value):
            yield from _render(block.body, value if block.kind == "with" else dot, inner)
        else:
            yield from _render(block.otherwise, dot, inner)
        return
    if isinstance(value, dict):
        items: list[tuple[object, object]] = sorted(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    elif value is None or value == "":
        items = []
    else:
        raise TemplateError(f"range cannot iterate over {show(value)[:40]!r}")
    for key, item in items:
        inner = dict(variables)
        if len(names) == 2:
            inner[names[0]], inner[names[1]] = key, item
        elif names:
            inner[names[0]] = item
        try:
            yield from _render(block.body, item, inner)
        except _Jumped as jumped:
            if jumped.kind == "break":
                break
    if not items:
        yield from _render(block.otherwise, dot, dict(variables))


def _evaluate(pipeline: Pipeline, dot: object, variables: dict[str, object]) -> object:
    value: object = None
    for position, call in enumerate(pipeline.calls):
        operands = [_operand(operand, dot, variables) for operand in call.operands]
        if position:
            operands.append(value)
        function = FUNCTIONS.get(call.name) or operands.pop(0)
        if not callable(function):
            if operands:
                raise TemplateError(f"{show(function)[:40]!r} is a value, no function")
            value = function
            continue
        try:
            value = function(*operands)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as exc:
            shown = " ".join(show(operand)[:40] for operand in operands)
            raise TemplateError(f"{call.name} {shown}: {exc}".strip()) from None
    return value


def _operand(operand: Operand, dot: object, variables: dict[str, object]) -> object:
    match operand:
        case Literal(value=value):
            return value
        case Pipeline():
            return _evaluate(operand, dot, variables)
        case Field(base=base, names=names):
            if isinstance(base, Pipeline):
                value = _evaluate(base, dot, variables)
            elif base == ".":
                value = dot
            elif base in variables:
                value = variables[base]
            else:
                raise TemplateError(f"undefined variable {base!r}")
            for name in names:
                value = _field(value, name)
            return value


def _field(value: object, name: str) -> object:
    if not isinstance(value, dict):
        raise TemplateError(f"cannot take .{name} of {show(value)[:40]!r}")
    if name not in value and not isinstance(value, OpenMap):
        known = ", ".join(sorted(str(key) for key in value)[:30])
        raise TemplateError(
            f"there is no field .{name}: there is {known}" if known else f"there is no field .{name}"
        )
    return value.get(name)
