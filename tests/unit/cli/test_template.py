"""Go templates as people use them with --format."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.format import template

VALUE = {
    "ID": "abc",
    "Names": ["web", "www"],
    "State": {"Pid": 7, "Running": True, "Error": ""},
    "Labels": {"b": "2", "a": "1"},
    "Ports": [],
    "Size": 1.5,
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("{{.ID}}", "abc"),
        ("{{ .State.Pid }}!", "7!"),
        ("{{.ID}}\t{{.Size}}", "abc\t1.5"),
        ("{{json .Labels}}", '{"b":"2","a":"1"}'),
        ("{{.Names | json}}", '["web","www"]'),
        ('{{join .Names ", "}}', "web, www"),
        ("{{upper .ID | printf `%s-%d` | len}}", "16"),
        ("{{range .Names}}<{{.}}>{{end}}", "<web><www>"),
        ("{{range $i, $n := .Names}}{{$i}}{{$n}} {{end}}", "0web 1www "),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .Ports}}x{{else}}none{{end}}", "none"),
        ('{{range .Names}}{{if eq . "www"}}{{break}}{{end}}<{{.}}>{{end}}.', "<web>."),
        ('{{range .Names}}{{if eq . "web"}}{{continue}}{{end}}<{{.}}>{{end}}.', "<www>."),
        ("{{range .Names}}{{range $.Names}}{{break}}{{end}}{{.}},{{end}}", "web,www,"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{else if eq .ID `abc`}}abc{{else}}other{{end}}", "abc"),
        ("{{with .State}}{{.Pid}} {{$.ID}}{{end}}", "7 abc"),
        ("{{$x := .State.Pid}}{{$x}}", "7"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ("{{index .Names 1}}{{index .Labels `a`}}", "www1"),
        ("{{(index .Names 0)}}", "web"),
        ("{{and true .ID}}{{or `` `y`}}{{not .State.Running}}", "abcyfalse"),
        ("{{printf `%-5s|%03d|%q` .ID 7 `x`}}", 'abc  |007|"x"'),
        ("{{.Labels}} {{.Names}} {{.State.Running}}", "map[a:1 b:2] [web www] true"),
        ("{{eq .State.Pid 7 8}}{{lt 1 2}}{{ge 1 2}}", "truetruefalse"),
        ("{{split `a,b` `,`}}{{title `one two`}}{{lower `ABC`}}", "[a b]One Twoabc"),
        ("{{slice .ID 1}}{{truncate `abcdef` 2}}", "bcab"),
    ],
)
def test_renders_as_go(source: str, expected: str) -> None:
    assert template.parse(source).render(VALUE) == expected


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{.Nmae}}", "there is no field .Nmae"),
        ("{{.ID.X}}", "cannot take .X"),
        ("{{.ID", "unclosed action at column 1"),
        ("{{}}", "missing value"),
        ("{{frobnicate .ID}}", "function 'frobnicate' is not defined"),
        ("{{if .ID}}x", "has no {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{index .Names 9}}", "out of range"),
        ("{{join 3 `,`}}", "join"),
        ("{{$y}}", "undefined variable"),
        ("{{range .Size}}{{end}}", "cannot iterate"),
        ("{{if .Names}}{{break}}{{end}}", "outside of a range"),
        ("{{(.ID}}", "missing )"),
        ("{{" + "(" * 99 + ".ID" + ")" * 99 + "}}", "nested"),
    ],
)
def test_says_what_is_wrong(source: str, complaint: str) -> None:
    with pytest.raises(template.TemplateError, match=re.escape(complaint)):
        template.parse(source).render(VALUE)


@pytest.mark.parametrize(
    ("source", "titles"),
    [
        ("{{.ID}}\t{{upper .Names}}\t{{.Size}}", "ID\tNames of it\tSIZE"),
        ("{{.Names}}: {{truncate .ID 1}}|", "Names of it: ID|"),
        ('{{.Label "a"}}\t{{json .ID}}', "a\tID"),
        ('{{.ID}}\t{{if eq .Names "web"}}up{{else}}down{{end}}', "ID\tdown"),
        ("{{range .Names}}{{.}}\t{{end}}{{.ID}}", "Names of it\tID"),
        ("plain", "plain"),
    ],
)
def test_names_the_columns_of_a_table(source: str, titles: str) -> None:
    assert template.parse(source).titles({"Names": "Names of it"}) == titles


@given(st.text(alphabet='{}.|()$:="`- aIDif rangeendjson1\t', max_size=60))
def test_any_text_gives_a_result_or_a_named_error(source: str) -> None:
    with contextlib.suppress(template.TemplateError):
        template.parse(source).render(VALUE)


def test_json_leaves_functions_out() -> None:
    row = {"ID": "abc", "Label": lambda name: name, "Ports": [{"x": 1}]}
    assert template.parse("{{json .}}").render(row) == '{"ID":"abc","Ports":[{"x":1}]}'
