"""swarmctl context …"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import app, contexts


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BEEYARD_HOST", "BEEYARD_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEEYARD_CONFIG", str(tmp_path / "config"))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = app.run(["context", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_life_of_a_context(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pem = config / "pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\n")
    assert run(capsys, "show") == (0, "default\n", "")
    files = [f"--{name}={pem}" for name in ("ca", "cert", "key")]
    assert run(capsys, "create", "prod", "--host", "tcp://m1", "--description", "far away", *files)[0] == 0
    assert run(capsys, "create", "copy", "--docker", f"host=tcp://m2,ca={pem},cert={pem},key={pem}")[0] == 0
    assert run(capsys, "create", "again", "--from", "prod")[0] == 0
    assert run(capsys, "update", "again", "--description", "near")[0] == 0
    assert run(capsys, "use", "prod")[1] == "prod\n"
    _, out, _ = run(capsys, "ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}} {{.Description}}")
    assert out.splitlines() == [
        "default false unix:///run/beeyard The daemons of this host",
        "again false tcp://m1 near",
        "copy false tcp://m2 ",
        "prod true tcp://m1 far away",
    ]
    _, out, _ = run(capsys, "inspect")
    (shown,) = json.loads(out)
    assert shown["Endpoints"]["docker"]["Host"] == "tcp://m1"
    assert shown["TLSMaterial"]["docker"] == ["ca.pem", "cert.pem", "key.pem"]
    code, _, err = run(capsys, "rm", "prod", "copy")
    assert code == 1 and "in use" in err
    assert run(capsys, "rm", "-f", "prod", "again")[0] == 0
    assert run(capsys, "ls", "-q")[1] == "default\n"


def test_a_context_goes_to_another_machine(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = contexts.Pem(ca=b"-----BEGIN A", certificate=b"-----BEGIN B", key=b"-----BEGIN C")
    contexts.save(str(config / "config"), contexts.Context(name="prod", host="tcp://m1"), pem)
    file = config / "prod.swarmcontext"
    assert run(capsys, "export", "prod", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert run(capsys, "export", "prod", str(file))[0] == 1, "nothing is overwritten"
    monkeypatch.setenv("BEEYARD_CONFIG", str(config / "elsewhere"))
    assert run(capsys, "import", "prod", str(file))[0] == 0
    assert contexts.load(str(config / "elsewhere"), "prod").host == "tcp://m1"
    assert run(capsys, "export", "prod", "-")[1] == file.read_text()
    for damage in ("", "{}", "[]", '{"host": "x", "description": "", "pem": {}}', "\xff"):
        file.write_text(damage)
        code, _, err = run(capsys, "import", "other", str(file))
        assert code == 1 and "is no exported context" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create", "prod"], "where is the context to lead"),
        (["create", "prod", "--host", "tcp://m"], "client certificate"),
        (["create", "prod", "--docker", "nonsense=1"], "unexpected field"),
        (["create", "p/q", "--host", "unix:///x"], "context name"),
        (["update", "default", "--host", "unix:///x"], "cannot be updated"),
        (["use", "nosuch"], "does not exist"),
        (["inspect", "nosuch"], "does not exist"),
        (["rm", "default"], "cannot be removed"),
        (["import", "x1", "/no/such"], "No such file"),
    ],
)
def test_complaints(capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 1 and complaint in err


def test_ls_shows_what_the_environment_puts_in_place(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "create", "near", "--host", "unix:///near")[0] == 0
    assert run(capsys, "use", "near")[0] == 0
    monkeypatch.setenv("BEEYARD_HOST", "unix:///elsewhere")
    code, out, err = run(capsys, "ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}}")
    assert code == 0
    assert out.splitlines() == ["default true unix:///elsewhere", "near false unix:///near"]
    assert "BEEYARD_HOST" in err
