"""What is decided about volumes and mounts, without any."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.containerd.kernel import syscalls
from services.containerd.model import check
from services.containerd.model.mounts import MountPoint, volume_names
from services.containerd.model.spec import ContainerSpec, Mount, MountKind
from services.containerd.volumes import pin, tree
from services.containerd.volumes.core import filters, local_options, settle, volume
from services.containerd.volumes.core.volume import Volume, Wanted
from services.kit import errors

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DATA = Volume(name="data", created_at=NOW, labels={"tier": "db"})


def names() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"{next(numbers):064x}"


def mounted(target: str, source: str = "", kind: MountKind = MountKind.VOLUME) -> Mount:
    return Mount(kind=kind, source=source, target=target)


def test_own_mounts_win_over_others_and_both_over_the_image() -> None:
    other = settle.Source(
        points=(
            MountPoint(mount=mounted("/a", "theirs")),
            MountPoint(mount=mounted("/b", "theirs2"), anonymous=True),
            MountPoint(mount=mounted("/t", kind=MountKind.TMPFS)),
        ),
        read_only=True,
    )
    points = settle.settle(
        [mounted("/a", "mine"), mounted("/c/")], ["/b", "/c", "/d/../e/."], [other], names()
    )
    found = {point.mount.target: point for point in points}
    assert set(found) == {"/a", "/b", "/c", "/e"}
    assert found["/a"].mount.source == "mine" and not found["/a"].anonymous
    taken = found["/b"]
    assert taken.anonymous and taken.mount.read_only and taken.mount.volume_no_copy
    assert volume_names(points, anonymous=True) == ("theirs2", "0".zfill(64), "1".zfill(64))


@given(st.text(alphabet="/.ab\n", max_size=20))
def test_no_declared_path_leaves_the_root(path: str) -> None:
    expected = os.path.normpath(f"/./{path}")
    if expected == "/":
        with pytest.raises(errors.Invalid, match="declares a volume"):
            settle.settle([], [path], [], names())
        return
    (point,) = settle.settle([], [path], [], names())
    assert point.mount.target == expected


def test_sources_are_named_with_modes() -> None:
    assert settle.parse_source("web:ro,z") == ("web", frozenset({"ro", "z"}))
    for bad in ("", ":ro", "web:x", "web:ro,rw"):
        with pytest.raises(errors.Invalid):
            settle.parse_source(bad)


def test_options_of_the_local_driver() -> None:
    assert local_options.parse({}) is None
    found = local_options.parse({"type": "tmpfs", "device": "tmpfs", "o": "size=1m, ro,uid=7"})
    assert found == local_options.Mounting(
        kind="tmpfs", device="tmpfs", flags=("ro",), data=("size=1m", "uid=7")
    )
    nfs = local_options.parse({"type": "nfs", "device": ":/x", "o": "addr=filer,rw"})
    assert nfs is not None and nfs.server == "filer"
    for bad in (
        {"size": "1g"},
        {"type": "tmpfs"},
        {"device": "/x"},
        {"type": "none", "device": "relative", "o": "bind"},
        {"type": "nfs", "device": ":/x"},
        {"type": "tmpfs", "device": "tmpfs", "o": "remount"},
        {"type": "tmpfs", "device": "x" * 5000},
    ):
        with pytest.raises(errors.Invalid):
            local_options.parse(bad)


def test_a_volume_is_the_same_or_it_is_not() -> None:
    volume.check_same(DATA, Wanted(name="data", labels={"other": "labels"}))
    volume.check_same(replace(DATA, options={"type": "tmpfs"}), Wanted(name="data"))
    for differs in (
        Wanted(name="data", driver="other"),
        Wanted(name="data", options={"type": "tmpfs", "device": "tmpfs"}),
    ):
        with pytest.raises(errors.AlreadyExists):
            volume.check_same(DATA, differs)


def test_filters() -> None:
    for given_filters, used, expected in (
        ({"name": ("at",)}, False, True),
        ({"name": ("x", "da")}, False, True),
        ({"name": ("^da.a$",)}, False, True),
        ({"name": ("^at",)}, False, False),
        ({"label": ("tier", "tier=db")}, False, True),
        ({"label": ("tier", "other")}, False, False),
        ({"dangling": ("1",)}, True, False),
        ({"dangling": ("false",)}, True, True),
        ({"driver": ("local",)}, False, True),
    ):
        assert filters.matches(DATA, given_filters, used=used) is expected
    assert not filters.matches_prune(DATA, {})
    assert filters.matches_prune(DATA, {"all": ("true",)})
    assert filters.matches_prune(replace(DATA, anonymous=True), {"label!": ("x",)})
    for bad in ({"dangling": ("perhaps",)}, {"color": ("red",)}, {"name": ("a[",)}):
        with pytest.raises(errors.Invalid):
            filters.check(bad)
    for bad in ({"until": ("1h",)}, {"all": ("perhaps",)}):
        with pytest.raises(errors.Invalid):
            filters.check_prune(bad)


def test_a_tree_deeper_than_any_path_goes(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    (tmp_path / "canary").write_text("stays")
    (top / "link").symlink_to(tmp_path)
    (top / ".0").mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 10, dir_fd=fd)
        inner = os.open("d" * 10, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    assert tree.size_bytes(top) > 0
    tree.remove(top)
    tree.remove(top)
    assert [entry.name for entry in tmp_path.iterdir()] == ["canary"]


def test_a_copy_is_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    (source / "sub/file").write_bytes(b"x" * 70_000)
    (source / "name").hardlink_to(source / "sub/file")
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo", 0o640)
    with (source / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    os.utime(source / "sub", ns=(1, 2_000_000_003))
    with tree.opened(source) as source_fd, tree.opened(target) as target_fd:
        assert tree.copy(source_fd, target_fd) == 6
    assert (target / "sub/file").read_bytes() == b"x" * 70_000
    assert (target / "name").stat().st_ino == (target / "sub/file").stat().st_ino
    assert (target / "link").readlink() == Path("/etc/passwd") and (target / "fifo").is_fifo()
    assert (target / "sub").stat().st_mtime_ns == 2_000_000_003
    assert (target / "holes").read_bytes() == b"\0" * (1 << 20) + b"end"
    assert (target / "holes").stat().st_blocks < 100


@pytest.mark.root
def test_a_subpath_that_is_swapped_meanwhile_never_leads_out(tmp_path: Path) -> None:
    root, outside, place = tmp_path / "volume", tmp_path / "outside", tmp_path / "place"
    for directory in (root / "real", outside):
        directory.mkdir(parents=True)
    (root / "real/inside").touch()
    (outside / "canary").touch()
    (root / "sub").mkdir()
    (root / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for first, second in (("sub", "held"), ("link", "sub"), ("sub", "link"), ("held", "sub")):
                (root / first).rename(root / second)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            try:
                pin.pin(root, "sub", place)
            except errors.Invalid:
                continue
            try:
                assert list(place.iterdir()) == []
            finally:
                syscalls.umount(place)
    finally:
        over.set()
        thread.join()
    pin.pin(root, "real/inside", tmp_path / "file")
    syscalls.umount(tmp_path / "file")


@pytest.mark.parametrize("target", ["//proc", "/./proc/sys", "/proc//x", "/.", "//"])
def test_a_target_is_judged_by_where_it_leads(target: str) -> None:
    with pytest.raises(errors.Invalid):
        check.check_target(target)


@pytest.mark.parametrize("other", ["//data", "/./data", "/data/."])
def test_one_place_in_two_spellings_is_one_place(other: str) -> None:
    mounts = tuple(
        Mount(kind=MountKind.VOLUME, source=source, target=target)
        for source, target in (("a", "/data"), ("b", other))
    )
    with pytest.raises(errors.Invalid, match="Duplicate mount point"):
        check.check(ContainerSpec(image="i", mounts=mounts))
