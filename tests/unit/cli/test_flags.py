"""Docker's way of writing flags, as click gets it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.flags import FlagError, Switch, normalise

SWITCHES = {
    "-d": Switch("--detach", ""),
    "-i": Switch("--interactive", ""),
    "--interactive": Switch("--interactive", ""),
    "-t": Switch("--tty", ""),
    "--tty": Switch("--tty", ""),
    "--sig-proxy": Switch("--sig-proxy", "--no-sig-proxy"),
    "--rm": Switch("--rm", ""),
}
ALIASES = {"--net": "--network"}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--rm img", "--rm img"),
        ("--rm=true img", "--rm img"),
        ("--rm=false img", "img"),
        ("-t=0 img", "img"),
        ("-it img", "-it img"),
        ("--rm -d --rm=false img", "-d img"),
        ("-it -t=false img", "-i img"),
        ("-i -i=false --env -i -e -i img", "--env -i -e -i img"),
        ("-it=true img", "-i --tty img"),
        ("-it=false img", "-i img"),
        ("--sig-proxy=false img", "--no-sig-proxy img"),
        ("--net host img", "--network host img"),
        ("--net=host img", "--network=host img"),
        ("-e --rm=maybe img", "-e --rm=maybe img"),
        ("--env --rm=maybe img", "--env --rm=maybe img"),
        ("--env=--rm=x img", "--env=--rm=x img"),
        ("-p80:80 --rm=1 img", "-p80:80 --rm img"),
        ("-i=false -t=false img", "img"),
        ("-t -i=false -t=false img", "img"),
        ("-m=64m -e=A=1 -ite=B= -e= img", "-m64m -eA=1 -iteB= -e= img"),
        ("-itp 80:80 --rm=1 img", "-itp 80:80 --rm img"),
        ("img --rm=maybe --net", "img --rm=maybe --net"),
        ("-- --rm=maybe", "-- --rm=maybe"),
        ("- --rm=maybe", "- --rm=maybe"),
        ("--env", "--env"),
        ("", ""),
    ],
)
def test_translates_what_stands_before_the_image(typed: str, expected: str) -> None:
    assert normalise(typed.split(), SWITCHES, ALIASES, interspersed=False) == expected.split()


def test_options_may_follow_arguments_where_nothing_else_can() -> None:
    typed = ["name", "--rm=true", "-", "--tty=false", "--", "--rm=maybe"]
    assert normalise(typed, SWITCHES, ALIASES, interspersed=True) == [
        "name",
        "--rm",
        "-",
        "--",
        "--rm=maybe",
    ]


@pytest.mark.parametrize("typed", ["--rm=maybe", "-t=", "-it=yes"])
def test_refuses_what_is_neither_yes_nor_no(typed: str) -> None:
    with pytest.raises(FlagError, match="true or false"):
        normalise([typed], SWITCHES, ALIASES, interspersed=False)


WORD = st.text(alphabet="-=itrmx", max_size=8)


@given(st.lists(WORD, max_size=6), st.booleans())
def test_any_words_are_translated_or_refused(typed: list[str], interspersed: bool) -> None:
    with contextlib.suppress(FlagError):
        once = normalise(typed, SWITCHES, ALIASES, interspersed=interspersed)
        assert sum(len(word) for word in once) <= sum(len(word) for word in typed) + 20 * len(typed)
