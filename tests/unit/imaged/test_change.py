"""Dockerfile instructions applied to a configuration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imaged.model import change, words
from services.imaged.model.config import Healthcheck, RunConfig
from services.kit import errors

BASE = RunConfig(env=("PATH=/bin", "HOME=/root"), cmd=("old",), working_dir="/srv", exposed_ports=("1/tcp",))


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('CMD ["a", "b c"]', "cmd", ("a", "b c")),
        ("CMD echo $HOME", "cmd", ("/bin/sh", "-c", "echo $HOME")),
        ("cmd [not json", "cmd", ("/bin/sh", "-c", "[not json")),
        ('ENTRYPOINT ["x"]', "entrypoint", ("x",)),
        ("ENV A=1 B='x y' C=\"$HOME-z\"", "env", ("PATH=/bin", "HOME=/root", "A=1", "B=x y", "C=/root-z")),
        ("ENV PATH=/opt:$PATH", "env", ("PATH=/opt:/bin", "HOME=/root")),
        ("ENV A some words", "env", ("PATH=/bin", "HOME=/root", "A=some words")),
        ("ENV A=${NO:-d}${HOME:+set}${NO}", "env", ("PATH=/bin", "HOME=/root", "A=dset")),
        ("EXPOSE 80 53/udp 90-91", "exposed_ports", ("1/tcp", "53/udp", "80/tcp", "90/tcp", "91/tcp")),
        ("LABEL a=b \"c d\"='e f'", "labels", {"a": "b", "c d": "e f"}),
        ("USER 1000:www", "user", "1000:www"),
        ("VOLUME /a /b", "volumes", ("/a", "/b")),
        ('VOLUME ["/a b"]', "volumes", ("/a b",)),
        ("WORKDIR sub/../dir", "working_dir", "/srv/dir"),
        ("WORKDIR /abs/", "working_dir", "/abs"),
        ("STOPSIGNAL sigquit", "stop_signal", "SIGQUIT"),
        ("STOPSIGNAL SIGRTMIN+3", "stop_signal", "SIGRTMIN+3"),
        ("ONBUILD RUN make", "on_build", ("RUN make",)),
        ("HEALTHCHECK NONE", "healthcheck", Healthcheck(test=("NONE",))),
        (
            "HEALTHCHECK --interval=1m30s --retries=5 CMD curl -f localhost || exit 1",
            "healthcheck",
            Healthcheck(test=("CMD-SHELL", "curl -f localhost || exit 1"), interval_ms=90_000, retries=5),
        ),
        ('HEALTHCHECK CMD ["true"]', "healthcheck", Healthcheck(test=("CMD", "true"))),
    ],
)
def test_an_instruction_changes_its_field(line: str, field: str, value: Any) -> None:
    assert getattr(change.apply_all(BASE, [line]), field) == value


def test_an_entry_point_drops_the_inherited_command_but_not_a_new_one() -> None:
    assert change.apply_all(BASE, ["ENTRYPOINT /x"]).cmd == ()
    assert change.apply_all(BASE, ['CMD ["a"]', "ENTRYPOINT /x"]).cmd == ("a",)
    assert change.apply_all(BASE, ["ENTRYPOINT /x", 'CMD ["a"]']).cmd == ("a",)


def test_lines_may_be_continued_and_commented() -> None:
    run = change.apply_all(BASE, ["# note\nENV A=1 \\\n  # inside\n  B=2\n\nUSER u"])
    assert run.env[-2:] == ("A=1", "B=2")
    assert run.user == "u"


@pytest.mark.parametrize(
    "line",
    [
        "RUN true",
        "CMD",
        "ENV A",
        "ENV =x",
        "ENV A=1 B",
        "ENV A='x",
        "EXPOSE 0",
        "EXPOSE 70000",
        "EXPOSE 90-80",
        "EXPOSE 80/icmp",
        "EXPOSE x",
        "HEALTHCHECK",
        "HEALTHCHECK --retries=x CMD y",
        "HEALTHCHECK --interval=1us CMD y",
        "HEALTHCHECK CMD",
        "ONBUILD FROM x",
        "STOPSIGNAL rm -rf",
        "STOPSIGNAL FOO",
        "STOPSIGNAL 65",
        "STOPSIGNAL SIGRTMIN-1",
        'VOLUME [""]',
        "ENV A=${B",
        "ENV A=${B:?x}",
        "ENV A=${",
    ],
)
def test_a_bad_instruction_is_refused_and_quoted(line: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        change.apply_all(BASE, [line])
    assert caught.value.reason in {"CHANGE_INVALID", "INVALID_DURATION"}


@given(st.text(alphabet="A=\\'\"${}:-+ xENVLABEL\n", max_size=60))
def test_reading_instructions_is_total(text: str) -> None:
    try:
        change.apply_all(BASE, [text])
    except errors.Invalid:
        return


@given(st.text(max_size=40))
def test_single_quotes_take_everything_as_it_is(text: str) -> None:
    plain = text.replace("'", "")
    assert words.expand(f"'{plain}'", {}) == plain
