"""Which profile confines a container, and that the default one is a profile."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from services.containerd.apparmor import loading, profile
from services.containerd.model.spec import Security
from services.containerd.ocispec.facts import HostFacts
from services.containerd.ocispec.process import apparmor_profile

_PARSER = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin")


@pytest.mark.parametrize(
    ("asked", "privileged", "default", "effective"),
    [
        ("", False, "beeyard-default", "beeyard-default"),
        ("", True, "beeyard-default", "unconfined"),
        ("unconfined", False, "beeyard-default", "unconfined"),
        ("my-own", True, "beeyard-default", "my-own"),
        ("", False, "", "unconfined"),
    ],
)
def test_which_profile(asked: str, privileged: bool, default: str, effective: str) -> None:
    security = Security(apparmor=asked, privileged=privileged)
    assert apparmor_profile(security, HostFacts(apparmor=True, apparmor_default=default)) == effective
    assert apparmor_profile(security, HostFacts()) == ""


@pytest.mark.skipif(_PARSER is None, reason="apparmor_parser is not installed")
def test_the_default_profile_compiles() -> None:
    assert _PARSER is not None
    command = [_PARSER, "--skip-kernel-load", "--skip-cache", "--debug"]
    text = profile.text().encode()
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    assert re.search(rb"Name:\s+beeyard-default", done.stdout + done.stderr), done.stdout
    broken = subprocess.run(command, input=text + b"}", capture_output=True, check=False)
    assert broken.returncode != 0


def test_a_profile_is_loaded_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "profiles"
    listed.write_text("/usr/bin/man (enforce)\nmy-own (complain)\n")
    monkeypatch.setattr(loading, "_LOADED", listed)
    assert loading.loaded("my-own")
    assert loading.loaded("/usr/bin/man")
    assert not loading.loaded("my")
