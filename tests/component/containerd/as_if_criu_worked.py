"""A stand-in for runc's `checkpoint` and `restore`, and for `criu`, where the kernel is too new for the CRIU there is.

Everything else is passed on to the real runc. `checkpoint` writes an image of nothing and kills the processes, as CRIU
does; `restore` starts the container's program anew. What it was called with is appended to a file beside it, so that a
test sees which command lines the real ones would have got. It proves the way to CRIU and back, and nothing of CRIU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

RUNC = "/usr/sbin/runc"
CALLS = "calls.jsonl"
FAIL = "fail"
"""A file of this name beside the program makes it fail as CRIU would."""


def install(directory: Path) -> tuple[Path, Path]:
    """Put the two programs into a directory; return the paths of "runc" and of "criu"."""
    paths = (directory / "runc-as-if-criu-worked", directory / "criu")
    for path in paths:
        path.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
        path.chmod(0o755)
    return paths


def calls(directory: Path) -> list[list[str]]:
    """Return the command lines of all checkpoints and restores."""
    path = directory / CALLS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _option(arguments: list[str], name: str) -> str:
    for number, argument in enumerate(arguments):
        if argument == name:
            return arguments[number + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    raise SystemExit(f"{name} is missing in {arguments}")


def _runc(root: str, *arguments: str) -> int:
    return subprocess.run([RUNC, root, *arguments], check=False).returncode


def main(program: Path, arguments: list[str]) -> int:
    """Run as one of the two."""
    if program.name == "criu":
        print("Version: 3.99 (a stand-in)" if "--version" in arguments else "Looks good.")
        return 0
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    if verb not in ("checkpoint", "restore") or "--help" in arguments:
        return subprocess.run([RUNC, *arguments], check=False).returncode
    with (program.parent / CALLS).open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    root, container = arguments[0], arguments[-1]
    images = Path(_option(arguments, "--image-path"))
    if (program.parent / FAIL).exists():
        work = Path(_option(arguments, "--work-path"))
        (work / "dump.log").write_text("(00.1) Warn\n(00.2) Error (criu/x.c:1): no such trick\n")
        print("criu failed: type NOTIFY errno 0", file=sys.stderr)
        return 1
    if verb == "restore":
        if not (images / "pages-1.img").exists():
            print("no images", file=sys.stderr)
            return 1
        made = ("--bundle", _option(arguments, "--bundle"), "--pid-file", _option(arguments, "--pid-file"))
        return _runc(root, "create", *made, container) or _runc(root, "start", container)
    (images / "pages-1.img").write_bytes(b"page" * 1024)
    (images / "inventory.img").write_bytes(b"i")
    (Path(_option(arguments, "--work-path")) / "dump.log").write_text(
        "(00.9) Dumping finished successfully\n"
    )
    if "--leave-running" not in arguments:
        _runc(root, "kill", container, "KILL")
        for _ in range(200):
            state = subprocess.run([RUNC, root, "state", container], capture_output=True, check=False)
            if state.returncode or json.loads(state.stdout)["status"] == "stopped":
                break
            time.sleep(0.02)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]), sys.argv[1:]))
