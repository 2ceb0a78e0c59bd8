"""Files on disk as an archive and back: what went in comes out, and nothing gets out of the directory."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.kit import errors
from services.kit.tar import make, walk
from services.kit.tar import path as paths
from services.kit.tar.pack import Packer
from services.kit.tar.source import Source
from services.kit.tar.unpack import Unpacker

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

names = st.binary(min_size=1, max_size=120).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
leaves = st.one_of(
    st.binary(max_size=3000),
    st.binary(min_size=1, max_size=200)
    .filter(lambda target: b"\0" not in target)
    .map(lambda target: ("link", target)),
    st.just(("fifo", b"")),
)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=12)


def pack(directory: Path, name: bytes = b"t", **options: bool) -> bytes:
    out = bytearray()
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        packer = Packer(out.extend, takes_xattr=lambda _: True, whole_seconds=False, **options)
        walk.add_tree(packer, descriptor, name)
        packer.finish()
    finally:
        os.close(descriptor)
    return bytes(out)


def unpack(data: bytes, directory: Path, chunk: int = 10_000) -> None:
    root = os.open(directory, DIRECTORY)

    def open_parent(parts: paths.Parts) -> int:
        current = os.dup(root)
        for part in parts:
            try:
                inner = os.open(part, DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            finally:
                os.close(current)
            current = inner
        return current

    stream = io.BytesIO(data)
    maker = make.Maker(count_data=lambda _: None, takes_xattr=lambda _: True, owner=lambda _: (-1, -1))
    try:
        Unpacker(open_parent, maker).unpack(Source(lambda: stream.read(chunk)))
    finally:
        os.close(root)


def build(path: bytes, tree: object, depth: int = 0) -> None:
    match tree:
        case dict():
            os.mkdir(path)
            for name, inner in tree.items():
                build(path + b"/" + name, inner, depth + 1)
            os.chmod(path, 0o700 + depth)
            os.utime(path, ns=(0, 1_000_000_007 * (depth + 1)))
        case ("link", target):
            os.symlink(target, path)
        case ("fifo", _):
            os.mkfifo(path)
        case bytes():
            Path(os.fsdecode(path)).write_bytes(tree)
            os.chmod(path, 0o640)
            os.utime(path, ns=(0, 1_234_567_890_123_456_789))


def look(path: bytes) -> object:
    status = os.lstat(path)
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            inner = {name: look(path + b"/" + name) for name in os.listdir(path)}
            return status.st_mode, status.st_mtime_ns, inner
        case stat.S_IFLNK:
            return os.readlink(path)
        case stat.S_IFREG:
            return status.st_mode, status.st_mtime_ns, Path(os.fsdecode(path)).read_bytes()
        case kind:
            return kind


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=st.dictionaries(names, trees, max_size=5), chunk=st.sampled_from([1, 511, 512, 65_536]))
def test_a_tree_comes_back(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object], chunk: int
) -> None:
    base = os.fsencode(tmp_path_factory.mktemp("p"))
    build(base + b"/t", tree)
    before = look(base + b"/t")
    os.mkdir(base + b"/out")
    unpack(pack(Path(os.fsdecode(base + b"/t"))), Path(os.fsdecode(base + b"/out")), chunk)
    assert look(base + b"/out/t") == before


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = tmp_path_factory.mktemp("d")
    (base / "t").mkdir()
    (base / "t" / "file").write_bytes(b"x" * 1000)
    (base / "t" / "link").symlink_to("/")
    (base / "out").mkdir()
    whole = bytearray(pack(base / "t"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(errors.BeeyardError):
        unpack(bytes(whole[:cut]), base / "out")
    assert sorted(os.listdir(base)) == ["out", "t"]
    assert (base / "t" / "file").read_bytes() == b"x" * 1000


def test_holes_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    sparse = tmp_path / "t" / "sparse"
    with sparse.open("wb") as file:
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(100 << 20)
    data = pack(tmp_path / "t", holes=True)
    assert len(data) < 1 << 20
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember("t/sparse").size == 100 << 20
    (tmp_path / "out").mkdir()
    unpack(data, tmp_path / "out")
    made = tmp_path / "out" / "t" / "sparse"
    assert made.stat().st_size == 100 << 20
    assert made.stat().st_blocks * 512 < 1 << 20
    with made.open("rb") as file:
        file.seek(3 << 20)
        assert file.read(6) == b"middle"


def test_links_of_the_archive_are_not_gone_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    for target in (str(outside), "../outside"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            link = tarfile.TarInfo("l")
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
            tar.addfile(tarfile.TarInfo("l/f"))
        with pytest.raises(errors.Invalid):
            unpack(out.getvalue(), tmp_path / "out")
        assert not os.listdir(outside)


def test_a_device_is_not_opened_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    os.mkfifo(tmp_path / "t" / "fifo")  # opening it would wait for a writer
    status = os.lstat(tmp_path / "t")
    out = bytearray()
    packer = Packer(out.extend, takes_xattr=lambda _: True)
    descriptor = os.open(tmp_path / "t", os.O_RDONLY)
    regular = os.stat_result((stat.S_IFREG | 0o644, *tuple(status)[1:10]))
    packer.add(descriptor, b"fifo", regular, b"fifo")  # what the listing said, and what is there by now
    os.close(descriptor)
    assert packer.entry_count == 0
