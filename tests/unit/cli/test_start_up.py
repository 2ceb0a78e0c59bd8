"""Start-up is budgeted: what a command does not need it must not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {
    "asyncio", "concurrent", "cryptography", "email", "grpc", "http", "importlib.metadata", "logging",
    "multiprocessing", "pathlib", "prometheus_client", "random", "rich", "shutil", "sqlite3", "ssl", "subprocess",
    "tempfile", "unittest", "urllib",
}  # fmt: skip
NOTHING_THERE = ["--host", "unix:///no/such/directory"]


def imported(*arguments: str) -> set[str]:
    """Run a command in a new process, and return the modules that it imported."""
    script = (
        "import sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'protos')!r}]\n"
        "before = set(sys.modules)\n"
        "from cli import app\n"
        f"app.run({list(arguments)!r})\n"
        "print(*sorted(set(sys.modules) - before), file=sys.__stderr__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "also_absent"),
    [
        (["version", "--client"], {"google", "json", "csv", "dataclasses", "cli.specs.values"}),
        ([*NOTHING_THERE, "ps", "-q"], {"json", "csv", "cli.format.template", "cli.views.container"}),
        ([*NOTHING_THERE, "stop", "web"], {"json", "csv", "cli.format.template", "cli.views.container"}),
        ([*NOTHING_THERE, "images", "-q"], {"csv"}),
        ([*NOTHING_THERE, "run", "--rm", "img"], {"cli.format.template", "cli.views.container", "termios"}),
        ([*NOTHING_THERE, "service", "ls"], {"csv"}),
    ],
    ids=lambda value: " ".join(value[-3:]) if isinstance(value, list) else "",
)
def test_a_command_imports_little(arguments: list[str], also_absent: set[str]) -> None:
    assert not imported(*arguments) & (HEAVY | also_absent)


def test_what_click_and_protobuf_rarely_need_is_not_executed() -> None:
    script = (
        "import os, sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'protos')!r}]\n"
        f"sys.argv = ['swarmctl', *{[*NOTHING_THERE, 'run', '--rm', 'img']!r}]\n"
        "deferred = ('gettext', 'inspect', 'uuid', 'google.protobuf.internal.python_message')\n"
        "def end(code): print(code, *(type(sys.modules[name]).__name__ for name in deferred), file=sys.__stderr__)\n"
        "os._exit = end\n"
        "from cli.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "125 _Deferred _Deferred _Deferred _Deferred"


def test_the_stand_ins_do_what_they_stand_for() -> None:
    script = (
        "import sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'protos')!r}]\n"
        "from cli import deferrals\n"
        "deferrals.install()\n"
        "import click\n"
        "from gettext import ngettext\n"
        "print(ngettext('one', 'more', 1), ngettext('one', 'more', 2))\n"
        "print(click.UUID.convert('12345678123456781234567812345678', None, None))\n"
        "option = click.Option(['--long'], help='  first\\n    second')\n"
        "print(repr(option.help), repr(click.Option(['--short'], help=' one line ').help))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "one more",
        "12345678-1234-5678-1234-567812345678",
        "'first\\nsecond' 'one line '",
    ]
