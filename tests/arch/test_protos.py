"""The generated modules are those of the .proto files, which follow the rules of an API that lasts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_modules_are_fresh() -> None:
    run(sys.executable, "protos/generate.py", "--check")


def test_the_protos_pass_lint() -> None:
    run(str(Path(sys.executable).with_name("buf")), "lint", "protos")


def test_generation_finds_what_is_stale_missing_and_orphaned(tmp_path: Path) -> None:
    (tmp_path / "generate.py").write_bytes((ROOT / "protos" / "generate.py").read_bytes())
    package = tmp_path / "beeyard" / "x" / "v1"
    package.mkdir(parents=True)
    source = package / "x.proto"
    source.write_text('syntax = "proto3";\npackage beeyard.x.v1;\nmessage X { string name = 1; }\n')

    def generate(*flags: str) -> tuple[int, str]:
        argv = [sys.executable, str(tmp_path / "generate.py"), *flags]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    code, said = generate("--check")
    assert code == 1
    assert "missing: beeyard/x/v1/x_pb2.py" in said
    assert not list(package.glob("*_pb2*")), "--check writes nothing"
    assert generate()[0] == 0
    assert generate("--check") == (0, "")
    source.write_text(source.read_text().replace("name", "title"))
    (package / "old_pb2.py").touch()
    code, said = generate("--check")
    assert code == 1
    assert {"stale: beeyard/x/v1/x_pb2.py", "orphaned: beeyard/x/v1/old_pb2.py"} <= set(said.splitlines())
    assert generate()[0] == 0
    assert generate("--check") == (0, "")
    source.write_text("this is no proto file")
    assert generate()[0] == 1
