"""Where swarmctl is aimed, and the contexts that say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import contexts, target
from services.kit import errors

PEM = contexts.Pem(
    ca=b"-----BEGIN CERTIFICATE-----\nca",
    certificate=b"-----BEGIN CERTIFICATE-----\nme",
    key=b"-----BEGIN PRIVATE KEY-----\nk",
)


@pytest.mark.parametrize(
    ("host", "directory", "managers"),
    [
        ("unix:///run/beeyard", "/run/beeyard", ()),
        ("unix:///run/beeyard/", "/run/beeyard", ()),
        ("unix:///", "/", ()),
        ("tcp://m1", "", ("m1:2377",)),
        ("tcp://m1:9,m2", "", ("m1:9", "m2:2377")),
        ("tcp://10.0.0.1:2377/", "", ("10.0.0.1:2377",)),
        ("tcp://[::1]", "", ("[::1]:2377",)),
        ("tcp://[fe80::1%eth0]:9", "", ("[fe80::1%eth0]:9",)),
    ],
)
def test_hosts(host: str, directory: str, managers: tuple[str, ...]) -> None:
    aimed = target.parse_host(host, None)
    assert (aimed.directory, aimed.managers) == (directory, managers)


@pytest.mark.parametrize(
    "host",
    ["", "unix://relative", "tcp://", "tcp://a:0", "tcp://a:65536", "tcp://a:b", "tcp://::1", "tcp://a,", "http://a",
     "ssh://a", "/run/beeyard", "tcp://a b", "tcp://" + ",".join(["a"] * 17)],
)  # fmt: skip
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(errors.Invalid):
        target.parse_host(host, None)


def test_the_nearest_wish_counts(tmp_path: Path) -> None:
    environ = {"BEEYARD_CONFIG": str(tmp_path)}
    for name in ("chosen", "named", "flagged"):
        contexts.save(str(tmp_path), contexts.Context(name=name, host=f"unix:///{name}"), None)

    def where(**given: str) -> str:
        return target.resolve(
            host=given.pop("host", ""), context=given.pop("context", ""), environ=environ
        ).directory

    assert where() == "/run/beeyard"
    contexts.use(str(tmp_path), "chosen")
    assert where() == "/chosen"
    environ["BEEYARD_CONTEXT"] = "named"
    assert where() == "/named"
    environ["BEEYARD_HOST"] = "unix:///host"
    assert where() == "/host"
    assert where(context="flagged") == "/flagged"
    assert where(host="unix:///flag") == "/flag"
    with pytest.raises(errors.Invalid, match="exclude each other"):
        where(host="unix:///flag", context="flagged")
    with pytest.raises(errors.NotFound, match="context ls"):
        where(context="nosuch")


def test_a_directory_of_certificates_goes_with_managers(tmp_path: Path) -> None:
    environ = {"BEEYARD_HOST": "tcp://m", "BEEYARD_CERT_PATH": "/certs", "BEEYARD_CONFIG": str(tmp_path)}
    aimed = target.resolve(host="", context="", environ=environ)
    assert aimed.credentials == target.Credentials("/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"BEEYARD_CONFIG": "/c"}, "/c"),
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/beeyard"),
        ({"HOME": "/h"}, "/h/.config/beeyard"),
        ({}, "/.config/beeyard"),
    ],
)
def test_where_contexts_are(environ: dict[str, str], expected: str) -> None:
    assert target.config_directory(environ) == expected


def test_a_context_keeps_its_certificate_to_itself(tmp_path: Path) -> None:
    context = contexts.Context(name="prod", host="tcp://m1,m2", description="far")
    contexts.save(str(tmp_path), context, PEM)
    loaded = contexts.load(str(tmp_path), "prod")
    assert (loaded.host, loaded.description) == ("tcp://m1,m2", "far")
    assert loaded.credentials is not None
    for path, data in zip(loaded.credentials, (PEM.ca, PEM.certificate, PEM.key), strict=True):
        assert Path(path).read_bytes() == data
        assert Path(path).stat().st_mode & 0o077 == 0
    assert contexts.names(str(tmp_path)) == ["default", "prod"]
    with pytest.raises(errors.AlreadyExists):
        contexts.save(str(tmp_path), context, PEM)
    contexts.use(str(tmp_path), "prod")
    with pytest.raises(errors.FailedPrecondition, match="in use"):
        contexts.remove(str(tmp_path), "prod", force=False)
    contexts.remove(str(tmp_path), "prod", force=True)
    assert target.current_context(str(tmp_path)) == "default"
    assert not list((tmp_path / "contexts").iterdir())


@pytest.mark.parametrize("name", ["", "x", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_names_of_contexts_are_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.Invalid, match="context name"):
        contexts.save(str(tmp_path), contexts.Context(name=name, host="unix:///x"), None)
    with pytest.raises(errors.BeeyardError):
        contexts.load(str(tmp_path), name)


def test_contexts_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match="client certificate"):
        contexts.save(str(tmp_path), contexts.Context(name="prod", host="tcp://m"), None)
    with pytest.raises(errors.Invalid, match="use unix:///"):
        contexts.save(str(tmp_path), contexts.Context(name="prod", host="what"), None)
    with pytest.raises(errors.Invalid, match="cannot be removed"):
        contexts.remove(str(tmp_path), "default", force=True)
    with pytest.raises(errors.NotFound):
        contexts.use(str(tmp_path), "nosuch")
    (tmp_path / "contexts").mkdir()
    for damage in ("{", json.dumps({"host": "x", "nonsense": 1}), "[]"):
        (tmp_path / "contexts" / "bad.json").write_text(damage)
        with pytest.raises(errors.Invalid, match="is damaged"):
            contexts.load(str(tmp_path), "bad")


def test_certificates_come_as_three(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("no pem")
    assert contexts.read_pem("", "", "") is None
    with pytest.raises(errors.Invalid, match="three files"):
        contexts.read_pem("a", "", "")
    with pytest.raises(errors.Invalid, match="No such file"):
        contexts.read_pem("/no/such", "/no/such", "/no/such")
    with pytest.raises(errors.Invalid, match="is no PEM file"):
        contexts.read_pem(str(tmp_path / "f"), str(tmp_path / "f"), str(tmp_path / "f"))
