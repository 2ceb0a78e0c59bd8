"""Lists as people and scripts ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from cli.format import output
from services.kit import errors

ROWS: list[dict[str, Any]] = [
    {"ID": "1", "Name": "web", "Note": "", "Method": lambda name: name.upper()},
    {"ID": "22", "Name": "日本", "Note": "x", "Method": lambda name: name},
]
HEADERS = {"ID": "ID", "Name": "NAME", "Note": "NOTE"}


def printed(capsys: pytest.CaptureFixture[str], style: str = "", quiet_field: str = "") -> str:
    output.print_rows(
        ROWS, style=style, default="{{.ID}}\t{{.Name}}\t{{.Note}}", headers=HEADERS, quiet_field=quiet_field
    )
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("", "ID        NAME      NOTE\n1         web\n22        日本      x\n"),
        ("table", "ID        NAME      NOTE\n1         web\n22        日本      x\n"),
        ("table {{.Name}}\\t{{upper .ID}}", "NAME      ID\nweb       1\n日本      22\n"),
        ("{{.ID}}\\t{{.Name}}", "1\tweb\n22\t日本\n"),
        ('{{.Method "a"}}{{if .Note}}!{{end}}', "A\na!\n"),
        (
            "json",
            '{"ID":"1","Name":"web","Note":""}\n{"ID":"22","Name":"日本","Note":"x"}\n',
        ),
    ],
)
def test_styles(capsys: pytest.CaptureFixture[str], style: str, expected: str) -> None:
    assert printed(capsys, style) == expected


def test_quiet_prints_one_field_unless_a_style_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, quiet_field="ID") == "1\n22\n"
    assert printed(capsys, "{{.Name}}", quiet_field="ID") == "web\n日本\n"


@pytest.mark.parametrize("style", ["{{.Nope}}", "{{", "table {{.ID", '{{.ID "x"}}'])
def test_wrong_formats_are_named(capsys: pytest.CaptureFixture[str], style: str) -> None:
    with pytest.raises(errors.Invalid, match="--format"):
        printed(capsys, style)


def test_an_empty_list_has_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([], style="", default="{{.ID}}\t{{.Name}}", headers=HEADERS)
    assert capsys.readouterr().out == "ID        NAME\n"


def test_inspections(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_inspect([{"A": {"B": 1}}], "")
    assert capsys.readouterr().out == '[\n    {\n        "A": {\n            "B": 1\n        }\n    }\n]\n'
    output.print_inspect([{"A": 1}, {"A": 2}], "{{.A}}")
    assert capsys.readouterr().out == "1\n2\n"
    output.print_inspect([{"A": 1}], "json")
    assert capsys.readouterr().out == '[{"A":1}]\n'
    output.print_object({"A": {"B": 1}}, "{{.A.B}}")
    assert capsys.readouterr().out == "1\n"
