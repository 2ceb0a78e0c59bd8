"""Every setting of a daemon stands in its sample file, commented out, with its default."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from services.kit import config as configs

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "deploy" / "config"
DAEMONS = ("containerd", "imaged", "netd", "swarmd")
COMMENTED_OUT = re.compile(r"^# ?(?=[a-z_]+ = |\[)", re.MULTILINE)


def config_class(daemon: str) -> type[configs.DaemonConfig]:
    """Return the settings class of a daemon: the one that extends what all daemons have."""
    if not (ROOT / "services" / daemon / "config.py").exists():
        pytest.skip(f"{daemon} has no settings of its own")
    module = importlib.import_module(f"services.{daemon}.config")
    found: list[Any] = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, configs.DaemonConfig) and one is not configs.DaemonConfig
    ]
    assert len(found) == 1, f"{module.__name__} has one settings class, not {found}"
    return found[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_the_sample_file_is_complete_and_tells_the_defaults(daemon: str, tmp_path: Path) -> None:
    kind = config_class(daemon)
    if not list(SAMPLES.glob("*.toml")):
        pytest.skip("there are no sample files")
    sample = SAMPLES / f"{daemon}.toml"
    text = sample.read_text()
    assert configs.load(kind, sample) == kind(), "as it stands, the file changes nothing"
    in_force = tmp_path / f"{daemon}.toml"
    in_force.write_text(COMMENTED_OUT.sub("", text))
    assert configs.load(kind, in_force) == kind(), "with every comment removed, it says the defaults"
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if not re.search(rf"^#? ?{field.name} = |\[{field.name}\]", text, re.MULTILINE)
    ]
    assert not missing
