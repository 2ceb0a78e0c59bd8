"""Users, names, signals, detach keys, exit codes: small texts with rules."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.containerd.model import names
from services.containerd.ocispec import user
from services.containerd.ocispec.facts import Identity
from services.containerd.runtime import conmon, oci_cli, signals
from services.containerd.streams import detach
from services.kit import errors
from services.kit import names as invented

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
broken line
alice:x:1000:1001::/home/alice:/bin/sh
1234:x:77:77::/home/digits:/bin/sh
huge:x:99999999999:0::/:/bin/sh
"""
GROUP = "root:x:0:\nalice:x:1001:\nstaff:x:50:alice,bob\nwheel:x:10:alice\nbroken\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Identity(uid=0, gid=0, groups=(0,), home="/root")),
        ("root", Identity(uid=0, gid=0, groups=(0,), home="/root")),
        ("alice", Identity(uid=1000, gid=1001, groups=(1001, 50, 10), home="/home/alice")),
        ("1000", Identity(uid=1000, gid=1001, groups=(1001, 50, 10), home="/home/alice")),
        ("alice:staff", Identity(uid=1000, gid=50, groups=(50,), home="/home/alice")),
        ("alice:5", Identity(uid=1000, gid=5, groups=(5,), home="/home/alice")),
        ("4242", Identity(uid=4242, gid=0, groups=(0,), home="/")),
        ("4242:4343", Identity(uid=4242, gid=4343, groups=(4343,), home="/")),
        ("1234", Identity(uid=77, gid=77, groups=(77,), home="/home/digits")),
        (":staff", Identity(uid=0, gid=50, groups=(50,), home="/root")),
    ],
)
def test_who_it_is(text: str, expected: Identity) -> None:
    assert user.resolve(text, passwd=PASSWD, group=GROUP) == expected


@pytest.mark.parametrize(
    "text", ["bob", "alice:nogroup", "99999999999", "huge", "2147483648", "-1", "root:-1"]
)
def test_nobody(text: str) -> None:
    with pytest.raises(errors.Invalid):
        user.resolve(text, passwd=PASSWD, group=GROUP)


def test_further_groups_and_an_image_without_files() -> None:
    got = user.resolve("alice", passwd=PASSWD, group=GROUP, groups_add=("wheel", "7"))
    assert got.groups == (1001, 50, 10, 7)
    assert user.resolve("", passwd="", group="") == Identity(groups=(0,))
    assert user.resolve("5:6", passwd="", group="").uid == 5


def test_an_exec_keeps_the_containers_identity() -> None:
    default = Identity(uid=5, gid=6, groups=(6,), home="/h")
    assert user.resolve("", passwd=PASSWD, group=GROUP, default=default) == default


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=20))
def test_any_text_gives_an_identity_or_a_named_error(passwd: str, group: str, who: str) -> None:
    try:
        got = user.resolve(who, passwd=passwd, group=group)
    except errors.Invalid:
        return
    assert 0 <= got.uid <= user.ID_MAX
    assert all(0 <= gid <= user.ID_MAX for gid in got.groups)


def test_names_are_checked_and_invented() -> None:
    for good in ("web", "a1", "A.b_c-d", "x" * 255):
        names.check(good)
    for bad in ("", "a", "-ab", ".ab", "a/b", "a b", "x" * 256, "0" * 64, "ab\n"):
        with pytest.raises(errors.Invalid):
            names.check(bad)
    rng = random.Random(1)
    for attempt in range(6):
        made = invented.invent(rng, attempt=attempt)
        names.check(made)
        assert "_" in made


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("SIGTERM", "SIGTERM", 15),
        ("term", "SIGTERM", 15),
        ("9", "SIGKILL", 9),
        ("SIGRTMIN+3", "SIGRTMIN+3", int(signal.SIGRTMIN) + 3),
        ("rtmax", f"SIGRTMIN+{int(signal.SIGRTMAX) - int(signal.SIGRTMIN)}", int(signal.SIGRTMAX)),
        ("RTMAX-1", f"SIGRTMIN+{int(signal.SIGRTMAX) - int(signal.SIGRTMIN) - 1}", int(signal.SIGRTMAX) - 1),
    ],
)
def test_signals(text: str, name: str, number: int) -> None:
    assert signals.normalize(text) == name
    assert signals.number(text) == number


@pytest.mark.parametrize("text", ["", "SIGNOT", "0", "99", "RTMIN+99", "RTMIN*2", "-9"])
def test_no_signals(text: str) -> None:
    with pytest.raises(errors.Invalid):
        signals.normalize(text)


@given(st.lists(st.sampled_from([b"\x10", b"\x11", b"a", b"\x10\x10", b"\x10a"]), max_size=12))
def test_what_is_typed_passes_unless_it_is_the_sequence(parts: list[bytes]) -> None:
    typed = b"".join(parts)
    watch = detach.DetachFilter(b"\x10\x11")
    passed, complete = b"", False
    for part in parts:
        out, complete = watch.feed(part)
        passed += out
        if complete:
            break
    before, found, _ = typed.partition(b"\x10\x11")
    assert complete is bool(found)
    held_back = b"\x10" if before.endswith(b"\x10") and not found else b""
    assert passed + held_back == before


@pytest.mark.parametrize(
    ("message", "program", "code"),
    [
        ("executable file `nosuch` not found in $PATH: No such file or directory", "nosuch", 127),
        ('exec: "nosuch": executable file not found in $PATH: unknown', "nosuch", 127),
        ('exec: "/no/such": stat /no/such: no such file or directory', "/no/such", 127),
        ('exec: "/etc": permission denied', "/etc", 126),
        ("open executable: Permission denied", "/x", 126),
        ('exec: "/x": is a directory', "/x", 126),
        ("mount `/data` to `data`: No such file or directory", "sh", 125),
        ("", "sh", 125),
    ],
)
def test_how_a_start_failed(message: str, program: str, code: int) -> None:
    assert oci_cli.start_exit_code(message, program) == code


def test_the_conmon_of_another_daemon_is_not_ours() -> None:
    line = ["/usr/bin/conmon", "-c", "abc", "--exit-dir", "/run/exits"]

    assert conmon.container_of(line, Path("/run/exits")) == "abc"
    assert conmon.container_of(line, Path("/run/other")) is None
    assert conmon.container_of(["sh", *line[1:]], Path("/run/exits")) is None
    assert conmon.container_of([], Path("/run/exits")) is None
