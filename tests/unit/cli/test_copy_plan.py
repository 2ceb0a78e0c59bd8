"""Where `cp` puts what: the table of `docker cp`."""

from __future__ import annotations

import pytest

from cli.files.plan import Plan, Source, Target, followed, parse, plan
from services.kit import errors

FILE = Source(name="f", is_directory=False)
DIRECTORY = Source(name="d", is_directory=True)
CONTENT = Source(name=".", is_directory=True)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (FILE, Target(path="/w/new", exists=False), Plan(directory="/w", name="new")),
        (FILE, Target(path="/w/new/", exists=False), "no such directory"),
        (FILE, Target(path="", exists=False), "no such directory"),
        (FILE, Target(path="/w/old", exists=True), Plan(directory="/w", name="old")),
        (FILE, Target(path="/w", exists=True, is_directory=True), Plan(directory="/w", name="f")),
        (FILE, Target(path="name", exists=False), Plan(directory=".", name="name")),
        (DIRECTORY, Target(path="/w/new", exists=False), Plan(directory="/w", name="new")),
        (DIRECTORY, Target(path="/w/new/", exists=False), Plan(directory="/w", name="new")),
        (DIRECTORY, Target(path="/w/old", exists=True), "cannot copy directory"),
        (DIRECTORY, Target(path="/w/.", exists=True, is_directory=True), Plan(directory="/w/.", name="d")),
        (CONTENT, Target(path="/w/new", exists=False), Plan(directory="/w", name="new")),
        (CONTENT, Target(path="/w", exists=True, is_directory=True), Plan(directory="/w", name=".")),
        (CONTENT, Target(path="/w/old", exists=True), "cannot copy directory"),
    ],
)
def test_what_goes_where(source: Source, target: Target, expected: Plan | str) -> None:
    if isinstance(expected, Plan):
        assert plan(source, target) == expected
        return
    with pytest.raises(errors.Invalid, match=expected):
        plan(source, target)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("web:/etc", ("web", "/etc")),
        ("web:etc:x", ("web", "etc:x")),
        ("web:", ("web", "")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("../a:b", ("", "../a:b")),
        ("file", ("", "file")),
        (":x", ("", ":x")),
        ("-", ("", "-")),
    ],
)
def test_arguments(argument: str, expected: tuple[str, str]) -> None:
    assert parse(argument) == expected


def test_links_lead_from_where_they_are() -> None:
    assert followed("/w/l", "d") == "/w/d"
    assert followed("/w/l/", "../d") == "/w/../d"
    assert followed("/w/l", "/d") == "/d"
