"""What can be said of the units without running them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from services.kit import daemon
from tests.system.deploy.host import ROOT

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
DAEMONS = [unit for unit in UNITS if unit.stem != "beeyard-halt"]
EXPOSURE_MAX = 40
"""Of swarmd, which listens on the network; in tenths, 100 is no protection at all."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here: install systemd"
)


def _analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def _read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters="=", comment_prefixes="#", strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    return parser


def test_systemd_understands_them(tmp_path: Path) -> None:
    for unit in UNITS:  # the programs are not installed here
        text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    for unit in UNITS:
        done = _analyze("verify", "--man=no", tmp_path / unit.name)
        assert [line for line in done.stderr.splitlines() if "beeyard" in line] == []


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.stem)
def test_what_every_daemon_needs(unit: Path) -> None:
    service = _read(unit)["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "process", "containers outlive every daemon"
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == str(daemon.EXIT_CONFIG)
    assert service["StateDirectoryMode"] == "0711"
    assert service["RuntimeDirectoryPreserve"] == "yes", "the others' sockets are in it"


def test_a_restart_is_nobody_elses() -> None:
    for unit in UNITS:
        assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & set(_read(unit)["Unit"])


def test_exposure() -> None:
    (swarmd,) = (unit for unit in UNITS if unit.stem == "beeyard-swarmd")
    done = _analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", swarmd)
    assert done.returncode == 0, done.stdout[-300:]
