"""Looks into hostile root file systems: no link leads out, nothing hangs, nothing is followed into /proc."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from services.containerd.kernel import syscalls
from services.containerd.model.spec import Device, DeviceLimit, InlineFile, Mount, MountKind, Resources
from services.containerd.rootfs import binds, devices, mounting
from services.containerd.rootfs.inside import TEXT_BYTES_MAX, Inside
from services.containerd.runtime import sharing
from services.kit import errors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    (directory / "etc").mkdir(parents=True)
    (tmp_path / "canary").write_text("outside")
    (tmp_path / "outside").mkdir()
    return directory


def test_links_stay_inside(root: Path, tmp_path: Path) -> None:
    (root / "etc/passwd").symlink_to(tmp_path / "canary")
    (root / "etc/group").symlink_to("../../canary")
    with Inside(root) as inside:
        assert inside.read_text("/etc/passwd") == ""
        assert inside.read_text("/etc/group") == ""
        assert inside.read_text("/../../canary") == ""
    (root / "canary").write_text("inside")
    with Inside(root) as inside:
        assert inside.read_text("/etc/group") == "inside"


def test_what_is_no_file_is_no_text(root: Path) -> None:
    os.mkfifo(root / "etc/passwd")
    (root / "etc/group").mkdir()
    (root / "etc/link").symlink_to("/proc/self/environ")
    with Inside(root) as inside:
        for name in ("passwd", "group", "link", "none"):
            assert inside.read_text(f"/etc/{name}") == ""
    (root / "etc/big").write_bytes(b"x" * (TEXT_BYTES_MAX + 1))
    with Inside(root) as inside, pytest.raises(errors.Invalid):
        inside.read_text("/etc/big")


def test_directories_are_made_inside(root: Path, tmp_path: Path) -> None:
    (root / "srv").symlink_to(tmp_path / "outside")
    (root / "tmp").symlink_to("/var/tmp")
    (root / "file").write_text("")
    (root / "loop").symlink_to("loop")
    with Inside(root) as inside:
        inside.ensure_directory("/a/b/c")
        inside.ensure_directory("/a/b/c")
        assert (root / "a/b/c").is_dir()
        (root / "var/tmp").mkdir(parents=True)
        inside.ensure_directory("/tmp/x")
        assert (root / "var/tmp/x").is_dir()
        for bad in ("/srv/x", "/file/x", "/file", "/loop/x", "/" + "/".join("d" * 70)):
            with pytest.raises(errors.Invalid):
                inside.ensure_directory(bad)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("path", ["/proc/self/fd/7", "/proc/self", "/jump", "/jump/deeper", "/proc"])
def test_a_working_directory_in_proc_is_refused(root: Path, path: str) -> None:
    """CVE-2024-21626: it would be resolved by the runtime, where descriptors of the host are open."""
    (root / "proc").mkdir()
    (root / "jump").symlink_to("/proc/self/fd/7")
    with Inside(root) as inside, pytest.raises(errors.Invalid):
        inside.ensure_directory(path)


def test_kernel_directories_must_be_directories(root: Path) -> None:
    with Inside(root) as inside:
        inside.check_kernel_directories()
        (root / "proc").symlink_to("etc")
        with pytest.raises(errors.Invalid, match="/proc"):
            inside.check_kernel_directories()


def test_binds_and_devices(tmp_path: Path) -> None:
    source = tmp_path / "made"
    mount = Mount(kind=MountKind.BIND, source=str(source), target="/x", read_only=True)
    with pytest.raises(errors.Invalid, match="does not exist"):
        binds.resolve(mount, private_namespace=False)
    made = Mount(kind=MountKind.BIND, source=str(source), target="/x", bind_create_source=True)
    bound = binds.resolve(made, private_namespace=False)
    (file,) = binds.of_files({"/secret": "/run/1"})
    assert source.is_dir()
    assert (bound.target, file.read_only) == ("/x", True)
    (null,) = devices.resolve(
        [Device(host_path="/dev/null", container_path="/dev/nix", permissions="r")], privileged=False
    )
    assert (null.path, null.kind, null.major, null.minor, null.permissions) == ("/dev/nix", "c", 1, 3, "r")
    for bad in (
        Device(host_path="/etc/passwd"),
        Device(host_path="/dev/none"),
        Device(host_path="/dev/null", permissions="x"),
    ):
        with pytest.raises(errors.Invalid):
            devices.resolve([bad], privileged=False)
    with pytest.raises(errors.Invalid):
        devices.block_numbers(Resources(device_read_bps=(DeviceLimit(path="/dev/null", value=1),)))
    assert {node.path for node in devices.resolve([], privileged=True)} >= {"/dev/null", "/dev/zero"}


@pytest.mark.root
def test_mounts_come_and_go(tmp_path: Path) -> None:
    shared = tmp_path / "c"
    shared.mkdir()
    assert sharing.ensure(shared)
    try:
        assert not sharing.ensure(shared), "idempotent"
        lower = [tmp_path / f"l{number}" for number in range(60)]
        for number, directory in enumerate(lower):
            directory.mkdir()
            (directory / f"file{number}").write_text("x")
        for name in ("upper", "work"):
            (tmp_path / name).mkdir()
        target = shared / "root"
        target.mkdir()
        overlay = mounting.RootMount(
            kind="overlay",
            lower_dirs=tuple(str(directory) for directory in lower),
            upper_dir=str(tmp_path / "upper"),
            work_dir=str(tmp_path / "work"),
        )
        mounting.mount_root([overlay], target)
        assert len(list(target.iterdir())) == 60
        assert sharing.unmount(target)
        assert not sharing.unmount(target)

        read_only = mounting.RootMount(kind="bind", source=str(lower[0]), options=("ro",))
        mounting.mount_root([read_only], target)
        with pytest.raises(OSError, match="Read-only"):
            (target / "x").write_text("x")
        sharing.unmount(target)

        places = mounting.mount_files(
            [InlineFile(path="/run/key", data=b"k", uid=7, mode=0o400)], shared / "files"
        )
        assert Path(places["/run/key"]).read_bytes() == b"k"
        assert Path(places["/run/key"]).stat().st_uid == 7
        with pytest.raises(errors.Internal, match="cannot mount"):
            mounting.mount_root([mounting.RootMount(kind="overlay", lower_dirs=("/no/such",))], target)
    finally:
        sharing.release(shared)
        sharing.release(shared)
    assert not [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line
    ]


@pytest.mark.root
@pytest.mark.parametrize("one_by_one", [True, False], ids=["new", "before 6.8"])
def test_as_many_layers_as_an_image_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    """Their paths together take more than the page that mount(2) has for options."""
    layers = [tmp_path / f"{number:060}" for number in range(127)]
    for layer in layers:
        layer.mkdir()
        (layer / layer.name).write_text(layer.name)
    (tmp_path / "upper").mkdir()
    (tmp_path / "work").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    wanted = mounting.RootMount(
        kind="overlay",
        lower_dirs=tuple(map(str, layers)),
        upper_dir=str(tmp_path / "upper"),
        work_dir=str(tmp_path / "work"),
    )
    monkeypatch.setattr(mounting._kernel, "takes_layers_one_by_one", one_by_one)
    mounting.mount_root([wanted], root)
    try:
        assert {entry.read_text() for entry in root.iterdir()} == {layer.name for layer in layers}
        (root / "new").touch()
    finally:
        syscalls.umount(root)
    assert (tmp_path / "upper/new").exists()


@pytest.mark.root
def test_more_layers_than_an_old_kernel_can_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [tmp_path / f"{number:060}" for number in range(300)]
    for layer in layers:
        layer.mkdir()
    monkeypatch.setattr(mounting._kernel, "takes_layers_one_by_one", False)
    with pytest.raises(errors.Unsupported) as refused:
        mounting.mount_root(
            [mounting.RootMount(kind="overlay", lower_dirs=tuple(map(str, layers)))], tmp_path
        )
    assert refused.value.reason == "TOO_MANY_LAYERS"


@pytest.mark.root
def test_a_kernel_that_takes_no_layers_one_by_one_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(mount: mounting.RootMount, target: Path) -> None:
        asked.append(target)
        raise OSError(errno.EINVAL, "unrecognized mount option")

    monkeypatch.setattr(mounting, "_mount_overlay_new", refuse)
    monkeypatch.setattr(mounting._kernel, "takes_layers_one_by_one", True)
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    wanted = mounting.RootMount(
        kind="overlay",
        lower_dirs=(str(tmp_path / "lower"),),
        upper_dir=str(tmp_path / "upper"),
        work_dir=str(tmp_path / "work"),
    )
    missing = dataclasses.replace(wanted, lower_dirs=("/no/such",))
    with pytest.raises(errors.Internal, match="unrecognized"):
        mounting.mount_root([missing], tmp_path / "root")
    for _ in range(2):
        mounting.mount_root([wanted], tmp_path / "root")
        syscalls.umount(tmp_path / "root")
    assert len(asked) == 2, "once for the one that fails both ways, once for the others"
