"""A whole host to install on: a copy of this machine, booted with systemd in namespaces of its own.

The copy is an overlay over `/`; what the host writes stays in a tmpfs and goes with it. It has its own network, process
ids and control groups, runs none of this machine's services, and nothing here is seen by or reaches them. Programs,
interpreter and kernel are this machine's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from services.containerd.cgroups import hierarchy
from services.containerd.kernel import mountinfo

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
SETTLE_S_MAX = 120.0
"""How long anything may take; the machine may be busy with other things."""

CHECKOUT, WHEELS = "/srv/checkout", "/srv/wheels"
"""Where the host finds what it is installed from."""

_MANAGED = Path("/run/systemd/system").is_dir()

_LIVE = """
again=$1; shift
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift
while "$@"; code=$?; [ $code = 133 ] || rm "$again" 2>/dev/null; do :; done
exit $code
"""
"""Runs systemd-nspawn, again when the host reboots (which is its exit code 133), and again when a file says so."""

# On a real host root may write to the control groups; systemd-nspawn gives v1 controllers read-only.
_WRITABLE_CGROUPS = """
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=-mount -o remount,rw /sys/fs/cgroup
ExecStart=-sh -c 'for group in /sys/fs/cgroup/*/; do mount -o remount,rw,bind "$group"; done'
"""


class Host:
    """Made by `host`."""

    def __init__(self, directory: Path, groups: tuple[Path, ...]) -> None:
        self._directory = directory
        self._groups = groups
        self.root = directory / "merged"
        self.wheels = directory / "wheels"
        self._console = directory / "console"
        self._again = directory / "again"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Boot it and wait until it is up."""
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                self._command("--boot", "--console=pipe"),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_for(self._booted, "the host is up")

    def reboot(self) -> None:
        """Go down in good order, and boot again."""
        self._boots_again(lambda: self.run("systemctl", "reboot", check=False))

    def cut_power(self) -> None:
        """End everything at once, and boot again."""
        self._again.touch()
        self._boots_again(lambda: os.kill(self._leader, signal.SIGKILL))

    def run(self, *argv: str, check: bool = True, **environment: str) -> str:
        """Run a program on it; return what it writes."""
        done = self._enter(*argv, **environment)
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stderr}{done.stdout}"
        return done.stdout + (done.stderr if not check else "")

    def probe(self) -> str:
        """Return why this machine cannot run such a host, empty if it can."""
        done = subprocess.run(
            self._command("--as-pid2", "--console=pipe", program=("true",)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return f"systemd-nspawn does not run here: {done.stderr.strip()}" if done.returncode else ""

    def close(self) -> None:
        """End what runs."""
        if self._process is None:
            return
        while self._process.poll() is None:  # process 1 takes what is below it along; systemd-nspawn follows
            os.kill(self._leader if self._find_leader() else self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)

    def _boots_again(self, go_down: Callable[[], object]) -> None:
        before = self._leader
        go_down()
        wait_for(lambda: self._booted() and self._leader != before, "the host is up again")

    def _booted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the host went down:\n{self._console.read_text()[-4000:]}"
        return self._find_leader() and self._enter("systemctl", "is-system-running").stdout.strip() in {
            "running",
            "degraded",
        }

    def _find_leader(self) -> bool:
        """Find its process 1: the one below systemd-nspawn that is 1 inside."""
        assert self._process is not None
        pids = [self._process.pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                if Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()[
                    1:
                ] == ["1"]:
                    self._leader = pid
                    return True
        return False

    def _enter(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{sys.base_prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {"PATH": path, "HOME": "/root", **environment}
        # fmt: off
        command = ["nsenter", f"--target={self._leader}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup",
                   "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *argv]
        # fmt: on
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SETTLE_S_MAX,
        )

    def _command(self, *options: str, program: tuple[str, ...] = ()) -> list[str]:
        interpreter = Path(sys.base_prefix)
        elsewhere = interpreter.stat().st_dev != Path("/").stat().st_dev
        # fmt: off
        return [
            "sh", "-c", _LIVE, "sh", str(self._again), *map(str, self._groups), "--",
            "systemd-nspawn", "--quiet", *options, f"--directory={self.root}", f"--machine={self._directory.name}",
            "--register=no", *(() if _MANAGED else ("--keep-unit",)),
            "--private-network", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            "--capability=all", "--system-call-filter=@known",
            f"--bind={self._directory}/state:/var/lib/beeyard",
            f"--bind-ro={ROOT}:{CHECKOUT}", f"--bind-ro={self.wheels}:{WHEELS}",
            *((f"--bind-ro={interpreter}",) if elsewhere else ()),
            *program,
        ]
        # fmt: on


@contextlib.contextmanager
def host() -> Iterator[Host]:
    """Make a host that is not booted yet; leave nothing of it."""
    directory = Path(f"/tmp/by-host-{secrets.token_hex(4)}")
    with contextlib.ExitStack() as stack:
        directory.mkdir(mode=0o700)
        stack.callback(directory.rmdir)
        _mount(stack, "tmpfs", "tmpfs", directory, "mode=0700")
        for name in ("upper", "work", "merged", "state", "wheels"):
            (directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={directory}/upper,workdir={directory}/work"
        _mount(stack, "overlay", "overlay", directory / "merged", layers)
        _strip(directory / "merged")
        groups = () if _MANAGED else _groups(stack, directory.name)
        made = Host(directory, groups)
        stack.callback(made.close)
        yield made


def wait_for(condition: Callable[[], T], what: str) -> T:
    """Return what `condition` returns as soon as that is true."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)
    return found


def _mount(stack: contextlib.ExitStack, kind: str, source: str, target: Path, options: str) -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, source, target], check=True, capture_output=True)
    stack.callback(lambda: subprocess.run(["umount", "--recursive", target], check=True, capture_output=True))


def _strip(root: Path) -> None:
    """Leave of this machine's set-up only what systemd itself brings, and nothing of an installed Beeyard."""
    units = root / "etc/systemd/system"
    for links in [*units.glob("*.wants"), *units.glob("*.requires")]:
        shutil.rmtree(links)
    for path in (root / "opt/beeyard", root / "etc/beeyard"):
        shutil.rmtree(path, ignore_errors=True)
    empty = (root / "etc/fstab", root / "etc/machine-id")
    for path in [*units.glob("beeyard-*"), root / "usr/local/bin/swarmctl", units / "default.target", *empty]:
        path.unlink(missing_ok=True)  # not written to: where a link led, it would lead out of the copy
    for path in empty:
        path.touch()
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (units / "writable-cgroups.service").write_text(_WRITABLE_CGROUPS)
    (units / "sysinit.target.wants").mkdir()
    (units / "sysinit.target.wants/writable-cgroups.service").symlink_to("../writable-cgroups.service")


def _groups(stack: contextlib.ExitStack, name: str) -> tuple[Path, ...]:
    """Make a control group for the host in every hierarchy: its own root of control groups."""
    groups = hierarchy.find(mountinfo.read()).directories(f"/{name}")
    for group in groups:
        group.mkdir()
        stack.callback(_remove_group, group)
        for file in (
            "cpuset.cpus",
            "cpuset.mems",
        ):  # v1: empty in a new group, and nothing may run in it then
            if (group.parent / file).exists() and not (group.parent / "cgroup.controllers").exists():
                (group / file).write_text((group.parent / file).read_text())
    return groups


def _remove_group(group: Path) -> None:
    for parent, _, _ in os.walk(group, topdown=False):
        wait_for(functools.partial(_removed, Path(parent)), f"nothing runs in {parent}")


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
