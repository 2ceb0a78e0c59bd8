"""Commands about containers, against containerd's contract on a real socket."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cli import event_streams
from tests.component.cli.conftest import Swarmctl
from tests.component.cli.fakes import Node


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that is standard input, at descriptor 0."""
    path = tmp_path / "stdin"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_run_prints_and_returns_the_container_s_code(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl("run", "img", "echo", "hello", "--rm")
    assert (done.code, done.out, done.err) == (0, "hello --rm\n", "")
    assert swarmctl("run", "--rm", "img", "exit", "7").code == 7


def test_the_streams_stay_apart(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl("run", "img", "both")
    assert (done.out, done.err) == ("out\n", "err\n")
    done = swarmctl("run", "-a", "stderr", "img", "both")
    attach = [request for name, request in node.containers.calls if name == "attach"][-1]
    assert (attach.stdout, attach.stderr, attach.stdin) == (False, True, False)  # type: ignore[attr-defined]


def test_attach_comes_before_start(node: Node, swarmctl: Swarmctl) -> None:
    for _ in range(20):  # a program that ends at once has no time to be missed
        assert swarmctl("run", "--rm", "img", "echo", "x").out == "x\n"


def test_run_detached_prints_the_id(node: Node, swarmctl: Swarmctl, tmp_path: Path) -> None:
    done = swarmctl("run", "-d", "--name", "web", "--cidfile", str(tmp_path / "cid"), "img", "sleep")
    container_id = node.containers.find("web").id
    assert (done.code, done.out) == (0, f"{container_id}\n")
    assert (tmp_path / "cid").read_text() == container_id
    again = swarmctl("run", "-d", "--cidfile", str(tmp_path / "cid"), "img", "sleep")
    assert again.code == 125 and "container ID file found" in again.err
    assert len(node.containers.by_id) == 1, "nothing was made"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["run", "img", "nosuch"], 127, "nosuch: not found"),
        (["run", "-d", "img", "nosuch"], 127, "nosuch: not found"),
        (["run", "missing", "true"], 125, "image missing is nowhere"),
        (["run", "--pull", "never", "missing", "true"], 125, "is not here"),
        (["run", "--pull", "sometimes", "img"], 125, "must be one of"),
        (["run", "--restart", "x", "img"], 125, "--restart"),
        (["run", "--no-such-flag", "img"], 125, "No such option"),
        (["run", "-it", "img", "sh"], 125, "the input device is not a TTY"),
        (["run", "--detach-keys", "foo", "img", "sh"], 125, "unknown detach key 'foo'"),
        (["start", "--detach-keys", "foo", "box"], 1, "unknown detach key 'foo'"),
        (["inspect", ""], 1, "is empty"),
        (["create", "--memory", "x", "img"], 125, "--memory"),
        (["exec", "nosuch", "true"], 1, "no such container"),
        (["exec", "box", "nosuch"], 127, "nosuch: not found"),
        (["attach", "nosuch"], 1, "no such container"),
        (["logs", "nosuch"], 1, "no such container"),
        (["inspect", "--type", "container", "nosuch"], 1, "no such container"),
    ],
)
def test_exit_codes_and_one_line_of_complaint(
    node: Node, swarmctl: Swarmctl, arguments: list[str], code: int, complaint: str
) -> None:
    swarmctl("create", "--name", "box", "img", "sleep")
    done = swarmctl(*arguments)
    assert (done.code, complaint in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    errors = [line for line in done.err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1


def test_rm_takes_away_what_could_not_start(node: Node, swarmctl: Swarmctl) -> None:
    assert swarmctl("run", "--rm", "img", "nosuch").code == 127
    assert not node.containers.by_id
    assert swarmctl("run", "--name", "kept", "img", "nosuch").code == 127
    assert node.containers.find("kept")


def test_a_missing_image_is_pulled_with_its_progress_on_standard_error(
    node: Node, swarmctl: Swarmctl
) -> None:
    done = swarmctl("run", "far:1", "echo", "hi")
    assert (done.code, done.out) == (0, "hi\n")
    assert done.err.splitlines() == [
        "Unable to find image 'far:1' locally",
        "bbbbbbbbbbbb: Downloading",
        "bbbbbbbbbbbb: Extracting",
        "Digest: sha256:m",
        "Status: Downloaded newer image for far:1",
    ]
    node.images.names.remove("far:1")
    assert swarmctl("run", "-q", "far:1", "echo", "hi").err == ""


def test_warnings_of_the_engine_are_shown(node: Node, swarmctl: Swarmctl) -> None:
    node.images.warnings = ["no swap limit here"]
    assert swarmctl("create", "img").err == "WARNING: no swap limit here\n"


def test_exec(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("run", "-d", "--name", "box", "img", "sleep")
    assert swarmctl("exec", "box", "echo", "-x", "y").out == "-x y\n"
    assert swarmctl("exec", "box", "exit", "3").code == 3
    assert (
        swarmctl("exec", "-d", "-e", "A=1", "-u", "7", "-w", "/srv", "--privileged", "box", "sleep").code == 0
    )
    spec = [request for name, request in node.containers.calls if name == "exec"][-1]
    assert (list(spec.env), spec.user, spec.working_dir, spec.privileged, spec.detach) == (  # type: ignore[attr-defined]
        ["A=1"], "7", "/srv", True, True,
    )  # fmt: skip


def test_ps_reads_all_pages(node: Node, swarmctl: Swarmctl) -> None:
    for number in range(5):
        swarmctl("create", "--name", f"c{number}", "--label", f"n={number}", "img", "sleep")
    assert len(swarmctl("ps", "-aq").out.split()) == 5
    assert swarmctl("ps", "-a", "--no-trunc", "-q").out.split()[0] == node.containers.find("c0").id
    lines = swarmctl("ps", "-a").out.splitlines()
    assert lines[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert len(lines) == 6
    assert swarmctl("ps", "--format", '{{.Names}}={{.Label "n"}}').out.split() == [
        f"c{n}={n}" for n in range(5)
    ]
    rows = [json.loads(line) for line in swarmctl("ps", "--format", "json").out.splitlines()]
    assert [row["Names"] for row in rows] == [f"c{n}" for n in range(5)]
    assert "Label" not in rows[0]


def test_ps_passes_filters_and_limits_on(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("ps", "-f", "status=exited", "-f", "status=created", "--filter", "label=a=b", "-n", "3")
    swarmctl("ps", "-l", "--format", "{{.Size}}")
    first, second = [request for name, request in node.containers.calls if name == "list"]
    assert list(first.filters["status"].values) == ["exited", "created"]  # type: ignore[attr-defined]
    assert list(first.filters["label"].values) == ["a=b"]  # type: ignore[attr-defined]
    assert (first.last, second.last, second.size) == (3, 1, True)  # type: ignore[attr-defined]
    assert swarmctl("ps", "-f", "nonsense").code == 1


def test_many_are_stopped_together_and_reported_in_order(node: Node, swarmctl: Swarmctl) -> None:
    names = [f"c{number}" for number in range(30)]
    for name in names:
        swarmctl("create", "--name", name, "img", "sleep")
    began = time.monotonic()
    done = swarmctl("stop", "-t", "3", *names[:15], "nosuch", *names[15:])
    assert time.monotonic() - began < 5, "one after the other"
    assert done.out.split() == names
    assert (done.code, done.err) == (1, "Error: no such container: nosuch\n")
    request = next(request for name, request in node.containers.calls if name == "stop")
    assert request.grace_ms == 3000  # type: ignore[attr-defined]


def test_rm(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("run", "-d", "--name", "busy", "img", "sleep")
    done = swarmctl("rm", "busy")
    assert (done.code, done.err) == (1, "Error: container busy runs\n")
    done = swarmctl("rm", "-f", "busy", "nosuch")
    assert (done.code, done.out, done.err) == (0, "busy\n", "Error: no such container: nosuch\n")


def test_wait_prints_codes_in_order(node: Node, swarmctl: Swarmctl) -> None:
    for code in (3, 5):
        swarmctl("run", "-d", "--name", f"w{code}", "img", "exit", str(code))
    assert swarmctl("wait", "w5", "w3").out == "5\n3\n"


def test_logs(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("create", "--name", "box", "img", "sleep")
    done = swarmctl("logs", "box")
    assert (done.out, done.err) == ("out 0\nout 1\n", "err 0\nerr 1\n")
    done = swarmctl("logs", "-t", "--details", "-n", "5", "--since", "2026-01-02", "box")
    assert done.out.splitlines()[0] == "2023-11-14T22:13:20.000000000Z tag=x out 0"
    request = [request for name, request in node.containers.calls if name == "logs"][-1]
    assert request.tail == 5 and request.since.seconds == 1_767_312_000  # type: ignore[attr-defined]
    done = swarmctl("logs", "--until", "2026-01-02", "box")
    assert done.err.startswith(
        "WARNING: 2MB of the log were removed by its rotation before they were read\nerr 0\n"
    )


def test_prune_asks_first(node: Node, swarmctl: Swarmctl, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = swarmctl("container", "prune")
    assert done.code == 1 and "cancelled" in done.err and "[y/N]" in done.out
    assert not [name for name, _ in node.containers.calls if name == "prune"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    done = swarmctl("container", "prune", "--filter", "until=1h", "--filter", "label!=keep")
    assert done.out.endswith(f"Deleted Containers:\n{'a' * 64}\n\nTotal reclaimed space: 1.5MB\n")
    request = [request for name, request in node.containers.calls if name == "prune"][-1]
    assert set(request.filters) == {"until", "label!"}  # type: ignore[attr-defined]


def test_inspect_finds_whatever_it_is(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("create", "--name", "box", "img", "sleep")
    assert swarmctl("inspect", "-f", "{{.Name}}", "box").out == "/box\n"
    assert json.loads(swarmctl("inspect", "bridge").out)[0]["Id"] == "b" * 64
    done = swarmctl("inspect", "box", "nosuch")
    assert done.code == 1 and "nosuch" in done.err
    assert [entry["Name"] for entry in json.loads(done.out)] == ["/box"]


def test_update_sends_what_was_given_alone(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("create", "--name", "box", "img", "sleep")
    done = swarmctl(
        "update",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--restart",
        "always",
        "--publish-add",
        "8080:80",
        "box",
        "nosuch",
    )
    assert (done.code, done.out) == (1, "box\n")
    assert done.err == "WARNING: no swap limit here\nError: no such container: nosuch\n"
    request = next(request for name, request in node.containers.calls if name == "update")
    assert request.resources.memory_bytes == 1 << 26 and request.resources.nano_cpus == 500_000_000  # type: ignore[attr-defined]
    assert request.restart.condition == 3 and request.publish_add[0].host_port == 8080  # type: ignore[attr-defined]
    assert not request.resources.HasField("memory_swappiness")  # type: ignore[attr-defined]
    assert "one or more flags" in swarmctl("update", "box").err


def test_top_diff_and_commit(node: Node, swarmctl: Swarmctl) -> None:
    swarmctl("create", "--name", "box", "img", "sleep")
    assert swarmctl("top", "box", "-o", "pid,cmd").out == f"{'PID':20}CMD\n{'1':20}sh -c x\n22\n"
    request = next(request for name, request in node.containers.calls if name == "top")
    assert list(request.ps_args) == ["-o", "pid,cmd"]  # type: ignore[attr-defined]
    assert swarmctl("diff", "box").out == "C /etc\nA /etc/new\nD /bin/sh\n"
    done = swarmctl("commit", "-a", "me", "-m", "note", "-c", "CMD x", "--no-pause", "box", "snap:1")
    assert done.out == "sha256:committed\n"
    request = next(request for name, request in node.containers.calls if name == "commit")
    assert request.no_pause and request.reference == "snap:1" and list(request.changes) == ["CMD x"]  # type: ignore[attr-defined]


def test_stats_begin_with_a_share_of_processor_time(node: Node, swarmctl: Swarmctl) -> None:
    assert swarmctl("stats", "--no-stream").out.splitlines() == [
        "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O      BLOCK I/O   PIDS",
        "555555555555   box       12.50%    1MiB / 4MiB         25.00%    1.5kB / 0B   0B / 0B     3",
    ]
    assert swarmctl("stats", "--format", "{{.Name}} {{.CPUPerc}}").out == "box 12.50%\nbox 50.00%\n"


def test_events(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl("events", "--since", "1h", "--until", "0s")
    told = ["image tag", "container create", "network connect", "container start"]
    assert [" ".join(line.split()[1:3]) for line in done.out.splitlines()] == told, "in the order of time"
    assert done.err.count("events were lost") == 2
    request = next(request for name, request in node.containers.calls if name == "events")
    assert request.until.seconds - request.since.seconds == 3600  # type: ignore[attr-defined]
    done = swarmctl(
        "events", "-f", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}} {{.ID}}"
    )
    assert done.out == f"create box {'5' * 64}\nstart box {'5' * 64}\n"


def test_events_in_json_have_dockers_fields(node: Node, swarmctl: Swarmctl) -> None:
    lines = swarmctl("events", "--since", "1h", "--until", "0s", "--format", "json").out.splitlines()
    image, container, network, _ = map(json.loads, lines)
    common = ["Type", "Action", "Actor", "scope", "time", "timeNano"]
    assert list(image) == ["status", "id", *common]
    assert list(container) == ["status", "id", "from", *common]
    assert (container["from"], container["time"]) == ("img", 1_700_000_000)
    assert list(network) == common
    assert network["Actor"] == {"ID": "e" * 64, "Attributes": {"name": "web", "type": "bridge"}}


def test_events_go_on_without_a_daemon_that_is_away(node: Node, swarmctl: Swarmctl) -> None:
    node.networks.absences = 1
    done = swarmctl("events", "--since", "1h", "--until", "0s", "--format", "{{.Type}}")
    assert (done.code, done.out.split()) == (0, ["image", "container", "container"])
    assert done.err.count("Warning: network events are missing: netd is not there") == 1
    node.networks.absences = 1
    done = swarmctl("events", "--until", "0s", "-f", "type=network")
    assert (done.code, done.err) == (1, "Error: netd is not there\n"), "nobody else has what is wanted"
    (node.directory / "imaged.sock").unlink()
    done = swarmctl("events", "--since", "1h", "--until", "0s", "--format", "{{.Type}}")
    assert (done.code, done.out.split()) == (0, ["container", "network", "container"])
    assert done.err.count("Warning: image events are missing: cannot connect to imaged") == 1


def test_events_of_a_daemon_come_when_it_is_back(
    node: Node, swarmctl: Swarmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "RETRY_S", 0.02)
    node.networks.absences, node.containers.watch_s = 3, 1.0
    done = swarmctl("events", "--format", "{{.Type}}")
    assert (done.code, sorted(done.out.split())) == (0, ["container", "container", "image", "network"])
    assert done.err.count("Warning: network events are missing: netd is not there") == 1
    assert done.err.count("Warning: network events were missing until now") == 1


def test_version_shows_every_daemon_and_what_is_missing(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl("version")
    assert done.code == 1, "swarmd does not answer"
    assert [line for line in done.out.splitlines() if line.endswith(":")] == [
        "Client:",
        "Server:",
        " imaged:",
        " containerd:",
        " netd:",
    ]
    assert done.err.startswith("Error: cannot connect to swarmd") and done.err.count("\n") == 1
    assert swarmctl("version", "-f", "{{.Server.Version}} {{.Client.Context}}").out == "9.9 default\n"
    assert swarmctl("version", "--client").code == 0


def test_networks(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl(
        "network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1", "-o", "a=b", "back"
    )
    assert done.out == "e" * 64 + "\n"
    (spec,) = node.networks.made
    assert (spec.name, spec.pools[0].gateway, dict(spec.options)) == ("back", "10.9.0.1", {"a": "b"})
    done = swarmctl("network", "create", "-d", "overlay", "wide")
    assert done.code == 1 and "swarmd" in done.err
    done = swarmctl("network", "inspect", "-f", "{{.Name}}", "bridge", "nosuch")
    assert (done.code, done.out, done.err) == (1, "bridge\n", "Error: network nosuch not found\n")
