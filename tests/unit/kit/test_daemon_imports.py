"""What a daemon leaves out stays out while it rests, and does what it does when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LEFT_OUT = {
    "ast", "difflib", "google.protobuf.descriptor_pb2", "google.protobuf.internal.python_message",
    "grpc_reflection.v1alpha", "importlib.metadata", "inspect", "prometheus_client", "ssl", "tarfile",
    "typing_extensions", "zstandard",
}  # fmt: skip
OF_CRYPTOGRAPHY = {"ast", "inspect"}  # its OpenSSH keys are dataclasses without docstrings


def run(script: str) -> list[str]:
    """Run a script in a new process; return the lines that it printed."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'protos')!r}]\n"
                f"from services.kit import daemon_imports\ndaemon_imports.lean()\n{script}"
            ),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("daemon", ["containerd", "imaged", "netd", "swarmd"])
def test_a_daemon_imports_little(daemon: str) -> None:
    found = run(
        f"import services.kit.daemon, services.{daemon}.daemon, services.{daemon}.config\n"
        "print(*(name for name, module in sys.modules.items() if type(module).__name__ != '_Deferred'))"
    )
    assert set(found[0].split()) & LEFT_OUT == (OF_CRYPTOGRAPHY if daemon == "swarmd" else set())


def test_the_stand_ins_for_inspect_say_what_it_says() -> None:
    assert run(
        "import functools, types\n"
        "from services.kit import deferred\n"
        "class Awaitable:\n    def __await__(self): yield\n    async def method(self): pass\n"
        "async def coroutine(): pass\n"
        "async def generator(): yield\n"
        "def function(): pass\n"
        "@functools.wraps(coroutine)\ndef wrapped(): pass\n"
        "@types.coroutine\ndef old(): yield\n"
        "made = coroutine()\n"
        "values = [coroutine, generator, function, wrapped, old, old(), made, Awaitable(), Awaitable().method, len,\n"
        "          7, functools.partial(coroutine), functools.partial(generator), Awaitable, lambda: 1]\n"
        "names = ['isawaitable', 'isasyncgenfunction', 'iscoroutinefunction', 'isfunction', 'unwrap']\n"
        "import inspect\n"
        "ours = {name: getattr(inspect, name) for name in names}\n"
        "print(type(inspect).__name__)\n"
        "real = deferred.load('inspect')\n"
        "for name in names:\n"
        "    assert getattr(real, name) is not ours[name]\n"
        "    assert [ours[name](value) for value in values] == [getattr(real, name)(value) for value in values], name\n"
        "made.close()\n"
        "print(type(inspect).__name__)"
    ) == ["_Deferred", "module"]


def test_an_error_in_a_callback_is_shown_without_further_imports() -> None:
    assert run(
        "import asyncio, logging\n"
        "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "def broken(): raise ValueError('of a callback')\n"
        "async def main():\n"
        "    asyncio.get_running_loop().call_soon(broken)\n"
        "    await asyncio.sleep(0.01)\n"
        "asyncio.run(main())\n"
        "print(type(sys.modules['inspect']).__name__)"
    )[-2:] == ["ValueError: of a callback", "_Deferred"]


def test_tls_is_there_for_who_wants_it() -> None:
    assert run(
        "import ssl\nprint(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).check_hostname)\nimport http.client\n"
        "print(http.client.HTTPSConnection.__name__)"
    ) == ["True", "HTTPSConnection"]
