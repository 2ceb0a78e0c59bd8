"""The import contracts of .importlinter: kept by the tree, and each shown to catch what it is there for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DAEMONS = ("containerd", "imaged", "netd", "swarmd")

VIOLATIONS = {
    "model-reads-clock": ("pure", {"services/imaged/model/x.py": "import time"}),
    "core-reaches-clock-indirectly": (
        "pure",
        {
            "services/swarmd/raft/core/x.py": "from services.swarmd import y",
            "services/swarmd/y.py": "import time",
        },
    ),
    "core-draws-lots": ("pure", {"services/swarmd/scheduler/core/x.py": "import random"}),
    "core-logs": ("pure", {"services/containerd/lifecycle/core.py": "import services.kit.log"}),
    "plan-reads-files": ("pure", {"services/netd/plan/x.py": "import os"}),
    "allocator-opens-sockets": ("pure", {"services/swarmd/allocator/x.py": "from socket import socket"}),
    "model-knows-api": ("models", {"services/netd/model/x.py": "import services.netd.api.y"}),
    "core-knows-shell": ("cores", {"services/swarmd/raft/core/x.py": "import services.swarmd.raft.shell.y"}),
    "store-knows-api": ("api", {"services/imaged/store/x.py": "import services.imaged.api.y"}),
    "shell-makes-its-own-clock": ("seams", {"services/imaged/store/x.py": "from services.kit import system"}),
    "daemon-imports-daemon": ("daemons", {"services/containerd/x.py": "import services.imaged.model.y"}),
    "kit-imports-daemon": ("kit", {"services/kit/x.py": "import services.netd.model.y"}),
    "cli-imports-daemon": ("cli", {"cli/x.py": "import services.swarmd.y"}),
    "light-imports-heavy": ("light", {"services/kit/units.py": "import grpc"}),
}


def lint(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(linter), "--no-cache", "--no-logo", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tree_keeps_the_contracts() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def write(root: Path, files: dict[str, str]) -> None:
    """Write modules, and make every directory on the way to them a package."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        for parent in path.relative_to(root).parents[:-1]:
            (root / parent / "__init__.py").touch()


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_contract_catches_its_violation(case: str, tmp_path: Path) -> None:
    contract, files = VIOLATIONS[case]
    shutil.copy(ROOT / ".importlinter", tmp_path)
    kit = {f"services/kit/{name}.py": "" for name in ("errors", "seams", "units", "backoff", "system")}
    write(tmp_path, {"cli/__init__.py": "", "services/swarmd/y.py": ""})
    write(tmp_path, kit | {"services/kit/log.py": "import logging"})
    write(tmp_path, {f"services/{daemon}/{part}/y.py": "" for daemon in DAEMONS for part in ("api", "model")})
    write(tmp_path, {"services/swarmd/raft/shell/y.py": ""})
    clean = lint(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    write(tmp_path, files)
    broken = lint(tmp_path, "--contract", contract)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "1 broken" in broken.stdout
