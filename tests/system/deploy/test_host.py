"""The units and the installer on a host with systemd: daemons come and go, containers do not notice.

One host for all, in the order of its life; each test leaves the daemons running and the container `web` untouched.
"""

from __future__ import annotations

import functools
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.system.deploy import wheels
from tests.system.deploy.host import CHECKOUT, WHEELS, Host, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

DAEMONS = ("imaged", "netd", "containerd", "swarmd")
ADDRESS = "http://127.0.0.1:8080/"
UPGRADE = "99.0"


def _show(host: Host, daemon: str, name: str) -> str:
    return host.run("systemctl", "show", "--value", "--property", name, f"beeyard-{daemon}").strip()


def _pid(host: Host, container: str = "web") -> str:
    return host.run("swarmctl", "inspect", "--format", "{{.State.Pid}}", container).strip()


def _pids(host: Host) -> str:
    """The processes of all containers, those of services included."""
    names = host.run("swarmctl", "ps", "--quiet").split()
    return host.run("swarmctl", "inspect", "--format", "{{.Name}} {{.State.Pid}}", *names)


def _replicas(host: Host) -> str:
    return host.run("swarmctl", "service", "ls", "--format", "{{.Replicas}}", check=False).strip()


def _answers(host: Host) -> bool:
    return host.run("curl", "-sS", "--max-time", "20", ADDRESS, check=False) == "hello\n"


def _serving(host: Host, daemon: str, *, not_pid: str = "") -> bool:
    state = [_show(host, daemon, name) for name in ("StatusText", "SubState")]
    return state == ["serving", "running"] and _show(host, daemon, "MainPID") != not_pid


def _all_serve(host: Host) -> bool:
    return all(_serving(host, daemon) for daemon in DAEMONS)


def _box(directory: Path) -> None:
    """Write an image's file system: busybox and a page."""
    with tarfile.open(directory / "box.tar", "w") as tar:
        tar.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
        for name in ("sh", "httpd", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        page = tarfile.TarInfo("www/index.html")
        page.size = len(b"hello\n")
        tar.addfile(page, io.BytesIO(b"hello\n"))


@pytest.fixture(scope="module")
def serving(installed: Host) -> Host:
    """The host with an image, and a container that answers on a published port."""
    _box(installed.wheels)
    installed.run("swarmctl", "image", "import", f"{WHEELS}/box.tar", "box:1")
    # fmt: off
    installed.run("swarmctl", "run", "--detach", "--name", "web", "--restart", "always", "--publish", "8080:80",
                  "--stop-timeout", "1", "box:1", "httpd", "-f", "-p", "80", "-h", "/www")
    # fmt: on
    wait_for(lambda: _answers(installed), "the container answers")
    return installed


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_is_ready_and_watched(installed: Host, daemon: str) -> None:
    assert _serving(installed, daemon)
    assert _show(installed, daemon, "NRestarts") == "0"
    assert _show(installed, daemon, "UnitFileState") == "enabled"
    assert _show(installed, daemon, "WatchdogUSec") == "1min"
    assert int(_show(installed, daemon, "WatchdogTimestampMonotonic")) > 0
    problems = installed.run("systemd-analyze", "verify", f"beeyard-{daemon}.service", check=False)
    assert [line for line in problems.splitlines() if "beeyard" in line] == []


def test_version_and_info(installed: Host) -> None:
    assert all(f" {daemon}:" in installed.run("swarmctl", "version") for daemon in DAEMONS)
    assert "Swarm: inactive" in installed.run("swarmctl", "info")
    for file in ("/etc/subuid", "/etc/subgid"):
        assert installed.run("grep", "-c", "^beeyard:", file).strip() == "1", "ids for --userns=auto"


def test_only_root_and_the_group_reach_it(installed: Host) -> None:
    modes = installed.run(
        "sh", "-c", "stat -c '%a %U:%G' /var/lib/beeyard /var/lib/beeyard/* /run/beeyard/*.sock"
    )
    assert modes.splitlines() == ["711 root:root"] + 4 * ["700 root:root"] + 4 * ["660 root:beeyard"]
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert "Permission denied" in installed.run(*nobody, "ls", "/var/lib/beeyard", check=False)
    assert "ermission denied" in installed.run(*nobody, "swarmctl", "ps", check=False)


def test_containers_inherit_nothing_of_the_unit(serving: Host) -> None:
    assert serving.run("cat", f"/proc/{_pid(serving)}/oom_score_adj").strip() == "0"
    assert "beeyard-containerd" not in serving.run("cat", f"/proc/{_pid(serving)}/cgroup")


def test_swarm(serving: Host) -> None:
    """What swarmd may do under its unit is enough for a manager; a client with a certificate gets in."""
    serving.run("swarmctl", "swarm", "init", "--advertise-addr", "127.0.0.1")
    # fmt: off
    serving.run("swarmctl", "service", "create", "--detach", "--name", "two", "--replicas", "2",
                "--stop-grace-period", "1s", "box:1", "sleep", "1d")
    # fmt: on
    wait_for(lambda: _replicas(serving) == "2/2", "the service runs")
    serving.run("swarmctl", "context", "create", "--issue", "remote")
    serving.run("swarmctl", "context", "export", "remote", "/srv/remote.swarmcontext")
    serving.run("swarmctl", "context", "rm", "remote")
    serving.run("swarmctl", "context", "import", "remote", "/srv/remote.swarmcontext")
    assert "Leader" in serving.run("swarmctl", "--context", "remote", "node", "ls")
    assert "web" in serving.run("swarmctl", "--context", "remote", "ps")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_restart(serving: Host, daemon: str) -> None:
    before = _pids(serving)
    serving.run("systemctl", "restart", f"beeyard-{daemon}")
    assert _answers(serving)
    assert _pids(serving) == before


def test_kill(serving: Host) -> None:
    before = _pids(serving)
    victims = {daemon: _show(serving, daemon, "MainPID") for daemon in DAEMONS}
    serving.run("kill", "-KILL", *victims.values())
    assert _answers(serving)
    for daemon, victim in victims.items():
        wait_for(functools.partial(_serving, serving, daemon, not_pid=victim), f"{daemon} is back")
        assert _show(serving, daemon, "NRestarts") == "1"
    assert _answers(serving)
    assert _pids(serving) == before


def test_stop(serving: Host) -> None:
    before = _pids(serving)
    serving.run("systemctl", "stop", "beeyard-containerd")
    assert _answers(serving)
    serving.run("systemctl", "start", "beeyard-containerd")
    assert _pids(serving) == before


def test_wrong_settings_are_not_tried_again(serving: Host) -> None:
    serving.run(
        "sh", "-c", "cp /etc/beeyard/netd.toml /etc/netd.toml; echo nonsense=1 >>/etc/beeyard/netd.toml"
    )
    serving.run("systemctl", "restart", "beeyard-netd", check=False)
    assert _show(serving, "netd", "ActiveState") == "failed"
    assert _show(serving, "netd", "ExecMainStatus") == "78"
    assert "nonsense" in serving.run("journalctl", "--unit=beeyard-netd", "--lines=20")
    assert _answers(serving)
    serving.run("mv", "/etc/netd.toml", "/etc/beeyard/netd.toml")
    serving.run("systemctl", "start", "beeyard-netd")


def test_upgrade(serving: Host) -> None:
    before = _pids(serving)
    pids = {_show(serving, daemon, "MainPID") for daemon in DAEMONS}
    serving.run("sh", "-c", "echo 'log_level = \"debug\"' >/etc/beeyard/imaged.toml")
    wheels.upgraded(serving.wheels, UPGRADE)
    serving.run(f"{CHECKOUT}/deploy/install", BEEYARD_WHEELS=WHEELS)
    assert pids.isdisjoint({_show(serving, daemon, "MainPID") for daemon in DAEMONS})
    assert _answers(serving)
    assert _pids(serving) == before
    assert serving.run("cat", "/etc/beeyard/imaged.toml") == 'log_level = "debug"\n'
    assert len(serving.run("ls", "/opt/beeyard/releases").split()) == 1
    version = "import importlib.metadata as m; print(m.version('beeyard'))"
    assert serving.run("/opt/beeyard/venv/bin/python", "-c", version).strip() == UPGRADE


def test_reboot(serving: Host) -> None:
    """Going down, containers get their own stop signal; back up, their restart policies decide."""
    # fmt: off
    serving.run("mkdir", "/srv/out")
    serving.run("swarmctl", "run", "--detach", "--name", "clean", "--stop-signal", "USR1", "--volume", "/srv/out:/out",
                "box:1", "sh", "-c", "trap 'echo stopped >/out/log; exit' USR1; while :; do sleep 1; done")
    serving.run("swarmctl", "run", "--detach", "--name", "deaf", "--restart", "unless-stopped", "--stop-timeout", "1",
                "box:1", "sleep", "100000")
    # fmt: on
    serving.run("swarmctl", "pause", "deaf")
    serving.reboot()
    assert serving.run("cat", "/srv/out/log") == "stopped\n"
    wait_for(lambda: _all_serve(serving), "the daemons are back")
    wait_for(lambda: _answers(serving), "the container is back")
    wait_for(lambda: _pid(serving, "deaf") != "0", "the other one too")
    wait_for(lambda: _replicas(serving) == "2/2", "and the service")
    assert _pid(serving, "clean") == "0"


def test_power_cut(serving: Host) -> None:
    serving.cut_power()
    wait_for(lambda: _answers(serving), "the container is back")
    wait_for(lambda: _replicas(serving) == "2/2", "and the service")


def test_uninstall(serving: Host) -> None:
    serving.run(f"{CHECKOUT}/deploy/install", "--uninstall")
    assert (
        serving.run(
            "sh",
            "-c",
            "ls -d /opt/beeyard /usr/local/bin/swarmctl /etc/systemd/system/beeyard-* 2>&-",
            check=False,
        )
        == ""
    )
    assert "beeyard" not in serving.run("ps", "-eo", "args").replace("/srv/", "")
    for state in ("imaged", "containerd/state.db", "netd", "swarmd"):
        serving.run("ls", f"/var/lib/beeyard/{state}")
    serving.run("ls", "/etc/beeyard/imaged.toml")
