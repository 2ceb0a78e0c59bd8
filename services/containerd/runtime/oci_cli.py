"""Command lines of the OCI runtimes, and what their messages mean. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from services.containerd.runtime.flavour import Flavour

EXIT_DAEMON = 125
EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127

_NOT_FOUND = ("executable file", "no such file or directory", "not found")
_CANNOT_EXECUTE = (
    "permission denied",
    "operation not permitted",
    "exec format error",
    "is a directory",
    "text file busy",
)
_NOISE = (
    "level=error msg=",
    "OCI runtime create failed:",
    "container_linux.go",
    "starting container process caused:",
)
_LIMITS = (
    ("blkio.weight_device", "--blkio-weight-device"),
    ("blkio.bfq.weight_device", "--blkio-weight-device"),
    ("blkio.weight", "--blkio-weight"),
    ("blkio.bfq.weight", "--blkio-weight"),
    ("io.bfq.weight", "--blkio-weight or --blkio-weight-device"),
    ("io.weight", "--blkio-weight or --blkio-weight-device"),
    ("cpu.rt_runtime_us", "--cpu-rt-runtime"),
    ("cpu.rt_period_us", "--cpu-rt-period"),
    ("realtime runtime", "--cpu-rt-runtime"),
    ("realtime period", "--cpu-rt-period"),
    ("cpu.cfs_", "--cpu-quota"),
    ("cpu.max", "--cpu-quota"),
    ("cpu.shares", "--cpu-shares"),
    ("cpu.weight", "--cpu-shares"),
    ("cpuset.cpus", "--cpuset-cpus"),
    ("cpuset.mems", "--cpuset-mems"),
    ("memory.swappiness", "--memory-swappiness"),
    ("memory.oom_control", "--oom-kill-disable"),
    ("memory.soft_limit_in_bytes", "--memory-reservation"),
    ("memory.low", "--memory-reservation"),
    ("memory.memsw.limit_in_bytes", "--memory-swap"),
    ("memory.swap.max", "--memory-swap"),
    ("memory.limit_in_bytes", "--memory"),
    ("memory.max", "--memory"),
    ("pids.max", "--pids-limit"),
)
"""Control files of v1 and v2 (crun's words for what v2 has none for), and the flags that write them.

Longer names stand before their beginnings.
"""


_PARENT_HAS_PROCESSES = ("cgroup.type", "with domain controllers")
"""How crun and runc say it; version 2 does not allow that beside groups below."""
_NO_REGULAR_FILE = "open executable: Operation not permitted"
"""How crun says that."""
_LOG_LINE = re.compile(r'time="[^"]*" (?:level=\w+ msg=)?"?(.*?)"?$')
"""runc writes its messages as a logger does."""


def delete(flavour: Flavour, root: Path, container_id: str) -> list[str]:
    """Return the command that removes a container, killing what is left of it."""
    return [flavour.path, f"--root={root}", "delete", "--force", container_id]


def create(flavour: Flavour, root: Path, bundle: Path, container_id: str) -> list[str]:
    """Return the command that creates a container without conmon: for the probe."""
    return [flavour.path, f"--root={root}", "create", f"--bundle={bundle}", container_id]


def update(flavour: Flavour, root: Path, resources: Path, container_id: str) -> list[str]:
    """Return the command that changes limits to those in a file."""
    return [flavour.path, f"--root={root}", "update", f"--resources={resources}", container_id]


def execute(flavour: Flavour, root: Path, container_id: str, *, process: Path, pidfile: Path) -> list[str]:
    """Return the command that runs one more process and ends as that does, its streams being the command's own."""
    options = [f"--process={process}", f"--pid-file={pidfile}"]
    return [flavour.path, f"--root={root}", "exec", *options, container_id]


def checkpoint(
    flavour: Flavour,
    root: Path,
    container_id: str,
    *,
    images: Path,
    work: Path,
    leave_running: bool,
    tty: bool,
) -> list[str]:
    """Return the command that writes the state of a container's processes into `images`."""
    return [
        flavour.path,
        f"--root={root}",
        "checkpoint",
        f"--image-path={images}",
        f"--work-path={work}",
        *(["--leave-running"] if leave_running else []),
        *criu_options(tty=tty),
        container_id,
    ]


def criu_options(*, tty: bool) -> list[str]:
    """Return what CRIU may take along: open connections, sockets to others, locks, and a terminal. Also to restore."""
    return ["--tcp-established", "--ext-unix-sk", "--file-locks", *(["--shell-job"] if tty else [])]


def version(flavour: Flavour) -> list[str]:
    """Return the command that prints the version."""
    return [flavour.path, "--version"]


def parse_version(output: str) -> str:
    """Return the version from the first line of `--version`: "crun version 1.8.1"."""
    first = output.splitlines()[0] if output else ""
    return first.rpartition(" ")[2]


def start_exit_code(message: str, program: str) -> int:
    """Return 125, 126 or 127: the code with which `docker run` ends when a container cannot be started.

    Args:
        message: What the runtime wrote.
        program: The first word of the command line, which the message must be about: a missing bind source is no
            missing program.
    """
    lowered = message.lower()
    about_program = program.lower() in lowered or "executable" in lowered or "exec:" in lowered
    if about_program and any(text in lowered for text in _CANNOT_EXECUTE):
        return EXIT_CANNOT_EXECUTE
    if about_program and any(text in lowered for text in _NOT_FOUND):
        return EXIT_NOT_FOUND
    return EXIT_DAEMON


def explain(message: str) -> str:
    """Return the last line of a runtime's message without its decoration.

    A limit that the kernel does not take is named as users know it: the runtimes tell the control file alone.
    """
    lines = [line.strip() for line in message.replace("\\n", "\n").splitlines() if line.strip()]
    text = lines[-1] if lines else "the runtime failed without a message"
    if logged := _LOG_LINE.match(text):
        text = logged[1].replace('\\"', '"')
    for noise in _NOISE:
        text = text.replace(noise, "")
    text = text.strip().strip('"')
    if text == _NO_REGULAR_FILE:
        return "it is a directory, or something else that is no program"
    if any(words in text for words in _PARENT_HAS_PROCESSES):
        return f"the control group that --cgroup-parent or the settings name has processes itself ({text})"
    flag = next((flag for file, flag in _LIMITS if file in text), "")
    return f"{flag}: the kernel does not take it ({text})" if flag else text
