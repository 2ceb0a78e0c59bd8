"""Images on their way in and out."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from beeyard.image.v1 import image_pb2
from services.kit import errors
from tests.component.cli.conftest import Swarmctl
from tests.component.cli.fakes import Node


def test_import_sends_the_whole_file(node: Node, swarmctl: Swarmctl, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(data := os.urandom(3_000_000))
    done = swarmctl("import", "-c", "CMD sh", "-m", "note", str(tmp_path / "root.tar"), "bb:1")
    assert (done.code, done.out) == (0, "sha256:imported\n")
    assert node.images.received == data
    (spec,) = node.images.specs
    assert isinstance(spec, image_pb2.ImportSpec)
    assert (spec.reference, list(spec.changes), spec.message) == ("bb:1", ["CMD sh"], "note")


def test_import_reads_a_pipe(node: Node, swarmctl: Swarmctl, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        buffer = io.BytesIO(b"tar")

    monkeypatch.setattr("sys.stdin", Pipe())
    monkeypatch.setattr("cli.terminal.is_terminal", lambda fd: False)
    assert swarmctl("import", "-").code == 0
    assert node.images.received == b"tar"


def test_a_refused_upload_ends_at_once(node: Node, swarmctl: Swarmctl, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(bytes(20_000_000))
    node.images.refusal = errors.Exhausted("no space is left on the disk", reason="DISK_FULL")
    done = swarmctl("import", str(tmp_path / "root.tar"))
    assert (done.code, done.err) == (1, "Error: no space is left on the disk\n")
    assert len(node.images.received) < 20_000_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["import", "/no/such/file"], "open /no/such/file: No such file or directory"),
        (["import", "https://somewhere/x.tar"], "fetch the URL first"),
        (["load", "-i", "/"], "Is a directory"),
        (["save", "-o", "/no/such/directory/x", "img"], "failed to save image"),
    ],
)
def test_files_that_cannot_be(node: Node, swarmctl: Swarmctl, arguments: list[str], complaint: str) -> None:
    done = swarmctl(*arguments)
    assert done.code == 1 and complaint in done.err and done.err.count("\n") == 1


def test_load_names_what_it_loaded(node: Node, swarmctl: Swarmctl, tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(data := os.urandom(1_000_000))
    done = swarmctl("load", "-i", str(tmp_path / "images.tar"))
    assert done.out == "Loaded image: a:1\nLoaded image ID: sha256:b\n"
    assert done.err == "layer: Unpacking\n"
    assert node.images.received == data
    assert swarmctl("load", "-q", "-i", str(tmp_path / "images.tar")).err == ""


def test_terminals_neither_give_nor_take_archives(
    node: Node, swarmctl: Swarmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.terminal.is_terminal", lambda fd: True)
    assert "cowardly refusing to save to a terminal" in swarmctl("save", "img").err
    assert "stdin is empty" in swarmctl("load").err


def test_save_writes_a_file_that_is_complete_or_not_there(
    node: Node, swarmctl: Swarmctl, tmp_path: Path
) -> None:
    target = tmp_path / "out.tar"
    assert swarmctl("save", "-o", str(target), "img", "img2").code == 0
    assert target.read_bytes() == b"archive-of-images"
    assert target.stat().st_mode & 0o777 == 0o600
    node.images.refusal = errors.Internal("a blob is damaged", reason="CONTENT_CORRUPT")
    assert swarmctl("save", "-o", str(target), "img").code == 1
    assert target.read_bytes() == b"archive-of-images", "the old one stays"
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar"]


def test_save_writes_to_pipes_and_devices(node: Node, swarmctl: Swarmctl) -> None:
    assert swarmctl("save", "img").out == "archive-of-images"
    assert swarmctl("save", "-o", "/dev/null", "img").code == 0
    assert Path("/dev/null").is_char_device()


def test_pull(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl("pull", "far:1")
    assert done.out.splitlines()[-2:] == ["Status: Downloaded newer image for far:1", "far:1"]
    assert swarmctl("pull", "-q", "far:1").out == "far:1\n"
    done = swarmctl("pull", "nowhere")
    assert (done.code, done.out, done.err) == (
        1,
        "Using default tag: latest\n",
        "Error: image nowhere is nowhere\n",
    )


def test_images_reads_all_pages(node: Node, swarmctl: Swarmctl) -> None:
    node.images.names = {"a:1", "b:2", "c:3"}
    assert swarmctl("images", "--format", "{{.Repository}}:{{.Tag}}").out.split() == ["a:1", "b:2", "c:3"]
    assert swarmctl("images", "-q").out == "1" * 12 + "\n", "an id once, however many names it has"
    assert len([json.loads(line) for line in swarmctl("images", "--format", "json").out.splitlines()]) == 3


def test_rmi(node: Node, swarmctl: Swarmctl) -> None:
    done = swarmctl("rmi", "img", "nosuch")
    assert (done.code, done.out) == (1, "Untagged: img\nDeleted: sha256:1\n")
    done = swarmctl("rmi", "-f", "nosuch")
    assert (done.code, done.err) == (0, "Error: no such image: nosuch\n")
