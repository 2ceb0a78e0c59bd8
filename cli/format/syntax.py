"""The syntax of Go templates: text into a tree, or a TemplateError with the place. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.format.functions import FUNCTIONS
from cli.format.values import TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEPTH_MAX = 50


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


@dataclass(frozen=True, slots=True)
class Use:
    """`template` or `block`: a defined template over a value, nothing if it is given none."""

    name: str
    pipeline: Pipeline | None


Operand = Literal | Field | Pipeline
NodeType = Text | Pipeline | Block | Jump | Use


@dataclass(frozen=True, slots=True)
class Parsed:
    """A template with those that it defines."""

    nodes: tuple[NodeType, ...]
    definitions: Mapping[str, tuple[NodeType, ...]]


def parse(source: str) -> Parsed:
    """Read a template. Raises TemplateError."""
    return _Parser(source).parse()


_ACTION = re.compile(
    r"\{\{(-(?=\s))?\s*(/\*.*?\*/|(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|[^`\"])*?)\s*((?<=\s)-)?\}\}", re.DOTALL
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<char>'(?:\\.|[^'\\])')|(?P<number>[-+]?(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?))
    |(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<variable>\$\w*(?:\.[A-Za-z_]\w*)*)|(?P<dot>\.)
    |(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|[()|,=]))""",
    re.VERBOSE,
)


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
        self._definitions: dict[str, tuple[NodeType, ...]] = {}

    def parse(self) -> Parsed:
        nodes, end = self._nodes(0)
        if end:
            raise TemplateError(f"unexpected {{{{{end}}}}}")
        return Parsed(nodes, self._definitions)

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
            word, rest = _first_word(text)
            if word in ("end", "else"):
                return tuple(nodes), text.strip()
            if word in ("if", "range", "with"):
                nodes.append(self._block(word, rest, offset, depth))
            elif word in ("define", "block", "template"):
                nodes.extend(self._named(word, rest, offset, depth))
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
            word, rest = _first_word(end[4:].strip())
            if word in ("if", "with") and kind in ("if", "with"):
                otherwise = (self._block(word, rest, offset, depth + 1),)
                return Block(kind, pipeline, body, otherwise)
            if word:
                raise TemplateError(f"unexpected {word!r} after else")
            otherwise, end = self._nodes(depth + 1)
        if end != "end":
            raise TemplateError(f"{{{{{kind} …}}}} at column {offset + 1} has no {{{{end}}}}")
        return Block(kind, pipeline, body, otherwise)

    def _named(self, word: str, rest: str, offset: int, depth: int) -> tuple[NodeType, ...]:
        """`define "name"`, which leaves nothing here; `template "name" [pipeline]`; `block "name" pipeline`."""
        tokens = _tokens(rest, offset) if rest else []
        if not tokens or tokens[0][0] != "string":
            raise TemplateError(
                f"{{{{{word} …}}}} at column {offset + 1} names no template: give it in quotes"
            )
        name = _text(tokens[0][1])
        pipeline, left = _read_pipeline(tokens[1:], rest, 0) if tokens[1:] else (None, [])
        if left or (word == "define" and pipeline) or (word == "block" and not pipeline):
            raise TemplateError(f"unexpected value, or none, in {{{{{word} {rest}}}}}")
        if word == "define" and depth:
            raise TemplateError(f"{{{{define {rest}}}}} is inside of a block")
        if word != "template":
            ranges, self._ranges = self._ranges, 0
            body, end = self._nodes(depth + 1)
            self._ranges = ranges
            if end != "end":
                raise TemplateError(f"{{{{{word} …}}}} at column {offset + 1} has no {{{{end}}}}")
            self._definitions[name] = body
        return () if word == "define" else (Use(name, pipeline),)


def _first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(None, 1) or [""]
    return word, "".join(rest)


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
    if not name and operands == [Literal(None)]:
        raise TemplateError(f"nil is no command in {{{{{text}}}}}")
    if not name and len(operands) > 1 and not isinstance(operands[0], Field):
        raise TemplateError(f"{{{{{text}}}}} is no function call")
    return Call(name, tuple(operands)), tokens


def _read_operand(
    tokens: list[tuple[str, str]], text: str, depth: int
) -> tuple[Operand, list[tuple[str, str]]]:
    (kind, value), tokens = tokens[0], tokens[1:]
    match kind:
        case "string":
            return Literal(_text(value)), tokens
        case "char":
            return Literal(ord(_unquote(f'"{value[1:-1]}"'))), tokens
        case "number":
            return Literal(_number(value)), tokens
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


def _text(literal: str) -> str:
    return literal[1:-1] if literal[0] == "`" else _unquote(literal)


def _number(literal: str) -> int | float:
    try:
        return int(literal, 0)
    except ValueError:
        return float(literal)


def _unquote(quoted: str) -> str:
    try:
        return str(json.loads(quoted.replace("\\'", "'").replace("\t", "\\t").replace("\n", "\\n")))
    except ValueError:
        raise TemplateError(f"bad string {quoted}") from None
