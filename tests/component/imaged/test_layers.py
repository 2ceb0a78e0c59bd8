"""The extractor on a real file system: what it makes, what it refuses, and that nothing ever gets out."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.imaged.layers import apply, limits
from services.imaged.layers.lower import LowerTree
from services.kit import errors
from services.kit.tar import writer
from services.kit.tar.entry import Entry, Kind
from services.kit.tar.reader import TarReader
from services.kit.tar.source import Source

pytestmark = pytest.mark.root

SECRET = "untouched"


class Box:
    """A target directory with a canary beside it, and layer directories below it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.canary = root / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_text(SECRET)
        self.lowers: list[Path] = []
        self.target = self._layer()

    def _layer(self) -> Path:
        path = self.root / f"layer{len(list(self.root.iterdir()))}"
        path.mkdir()
        return path

    def apply(
        self, data: bytes, *, merged: bool = False, bounds: limits.Limits | None = None
    ) -> apply.Applied:
        parts = iter([data[start : start + 700] for start in range(0, len(data), 700)])
        descriptor = os.open(self.target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return apply.apply(
                Source(lambda: next(parts, b"")),
                descriptor,
                lower=None if merged else LowerTree([os.fsencode(path) for path in self.lowers]),
                limits=bounds or limits.Limits(),
            )
        finally:
            os.close(descriptor)

    def push(self) -> None:
        """Begin a layer above what has been unpacked."""
        self.lowers.insert(0, self.target)
        self.target = self._layer()

    def check(self) -> None:
        assert (self.canary / "file").read_text() == SECRET
        assert sorted(path.name for path in self.canary.iterdir()) == ["file"]
        assert stat.S_IMODE(self.canary.stat().st_mode) == 0o755


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.check()


def entry(
    name: bytes | str, kind: Kind = Kind.FILE, data: bytes = b"", link: bytes | str = b"", **more: object
) -> bytes:
    made = Entry(
        name=os.fsencode(name),
        kind=kind,
        size_bytes=len(data),
        link_name=os.fsencode(link),
        **more,  # type: ignore[arg-type]
    )
    return writer.render(made) + data + writer.padding(len(data))


def directory(name: str, **more: object) -> bytes:
    return entry(name + "/", Kind.DIRECTORY, mode=more.pop("mode", 0o755), **more)


def link(name: str, target: str) -> bytes:
    return entry(name, Kind.SYMLINK, link=target)


def hard(name: str, target: str) -> bytes:
    return entry(name, Kind.HARDLINK, link=target)


def archive(*members: bytes) -> bytes:
    return b"".join(members) + writer.END


def test_everything_about_a_file_arrives(box: Box) -> None:
    box.apply(
        archive(
            directory(".", mode=0o750, uid=5, mtime_ns=7_000_000_000),
            directory("d", mode=0o2775, uid=1, gid=2, mtime_ns=1_000_000_000),
            entry("d/f", data=b"hello", mode=0o4751, uid=10, gid=20, mtime_ns=2_000_000_000),
            entry("d/x", data=b"x", xattrs={"user.note": b"\0v", "trusted.t": b"1"}),
            link("d/l", "../../etc/passwd"),
            hard("h", "d/f"),
            entry("dev", Kind.CHAR_DEVICE, device=(1, 3), mode=0o666),
            entry("blk", Kind.BLOCK_DEVICE, device=(7, 99), mode=0o660, gid=6),
            entry("pipe", Kind.FIFO, mode=0o620),
        )
    )
    root = box.target
    status = root.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o750, 5, 7)
    status = (root / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (0o2775, 1, 2, 1)
    status = (root / "d/f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (
        0o4751,
        10,
        20,
        2,
    )
    assert (root / "h").stat().st_ino == status.st_ino
    assert os.getxattr(root / "d/x", "user.note") == b"\0v"
    assert (root / "d/x").stat().st_gid == 0, "a set-group-id directory does not decide the group"
    assert (root / "d/l").readlink() == Path("../../etc/passwd")
    assert stat.S_ISCHR((root / "dev").stat().st_mode)
    assert (root / "blk").stat().st_rdev == os.makedev(7, 99)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)


def test_it_makes_of_an_archive_what_gnu_tar_makes(box: Box, tmp_path: Path) -> None:
    archive_path = tmp_path / "host.tar"
    subprocess.run(
        ["tar", "-C", "/", "-cf", archive_path, "etc/alternatives", "etc/default", "etc/ssl"], check=True
    )
    box.apply(archive(directory("etc", mtime_ns=0))[:-1024] + archive_path.read_bytes())
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["tar", "-C", other, "-xpf", archive_path], check=True)
    os.utime(other / "etc", (0, 0))
    assert listing(box.target) == listing(other)


def listing(root: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        mtime = int(status.st_mtime)
        found.append((path.relative_to(root), status.st_mode, status.st_uid, status.st_gid, mtime, content))
    return found


# What is tried to get out.

ESCAPES: dict[str, Sequence[bytes]] = {
    "dot dot": [entry("../canary/file", data=b"evil")],
    "dot dot deep": [entry("a/b/../../../canary/new", data=b"evil")],
    "link out, then through it": [link("l", "../canary"), entry("l/file", data=b"evil")],
    "absolute link out, then through it": [link("l", "CANARY"), entry("l/file", data=b"evil")],
    "link to the root, then through it": [link("l", "/"), entry("lCANARY/file", data=b"evil")],
    "chain of links": [link("a", ".."), link("b", "a/.."), entry("b/canary/file", data=b"evil")],
    "hard link out": [hard("h", "../canary/file"), entry("h", data=b"evil")],
    "hard link by absolute path": [hard("h", "CANARY/file"), entry("h", data=b"evil")],
    "hard link through a link": [link("l", "CANARY"), hard("h", "l/file"), entry("h", data=b"evil")],
    "file over a link": [link("l", "CANARY/file"), entry("l", data=b"evil")],
    "directory over a link": [link("l", "CANARY"), directory("l", mode=0o777), entry("l/x", data=b"evil")],
    "whiteout through a link": [link("l", "CANARY"), entry("l/.wh.file")],
    "opaque through a link": [link("l", "CANARY"), entry("l/.wh..wh..opq")],
    "whiteout of the directory": [entry("d/.wh..")],
    "whiteout of its parent": [entry("d/.wh...")],
    "mode through a link": [link("l", "CANARY/file"), directory("l/.", mode=0o777)],
    "device through a link": [link("l", "CANARY"), entry("l/dev", Kind.CHAR_DEVICE, device=(1, 3))],
    "link in place of the parent": [directory("d"), link("d", "CANARY"), entry("d/file", data=b"evil")],
    "redirect of overlayfs": [
        directory("d", xattrs={"trusted.overlay.redirect": b"/../canary", "trusted.overlay.metacopy": b""})
    ],
}


@pytest.mark.parametrize("merged", [False, True], ids=["layer", "merged"])
@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_gets_out(box: Box, name: str, merged: bool) -> None:
    members = rebuilt(ESCAPES[name], os.fsencode(box.canary))
    with contextlib.suppress(errors.Invalid):  # refused or contained: the canary tells
        box.apply(archive(*members), merged=merged)
    assert not [path for path in box.target.rglob("*") if overlay_xattrs(path)]


def overlay_xattrs(path: Path) -> list[str]:
    names = os.listxattr(path, follow_symlinks=False)
    return [name for name in names if name.startswith("trusted.overlay.") and not name.endswith("opaque")]


def rebuilt(members: Sequence[bytes], canary: bytes) -> list[bytes]:
    """Put the real path of the canary into the headers."""
    data = archive(*members)
    chunks = iter([data])
    reader = TarReader(Source(lambda: next(chunks, b"")))
    out = []
    for member in reader:
        content = b"".join(bytes(view) for view in reader.data())
        member.name = member.name.replace(b"CANARY", canary)
        member.link_name = member.link_name.replace(b"CANARY", canary)
        out.append(writer.render(member) + content + writer.padding(len(content)))
    return out


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([entry("../x")], "outside of the archive's root"),
        ([hard("h", "../../x")], "outside of the archive's root"),
        ([hard("h", "/nowhere")], "not in the image"),
        ([hard("h", "h")], "hard link to itself"),
        ([directory("d"), hard("h", "d")], "not a file"),
        ([link("l", "/nowhere"), entry("l/x")], "leads to no directory of the image"),
        ([entry("f"), entry("f/x")], "used as a directory, but is none"),
        ([link("a", "b"), link("b", "a"), entry("a/x")], "too many links"),
        ([link("l", "")], "link to nothing"),
        ([entry(".", data=b"x")], "its root is a file"),
        ([entry("x" * 255 + "/" + "y" * 256)], "longer than 255"),
        ([b"\1" * 512], "checksum"),
    ],
)
def test_a_bad_archive_is_refused_with_the_reason(box: Box, members: list[bytes], message: str) -> None:
    with pytest.raises(errors.Invalid, match=message):
        box.apply(archive(*members))


def test_links_inside_the_image_are_followed_as_the_container_sees_them(box: Box) -> None:
    box.apply(
        archive(
            directory("usr/lib"),
            link("lib", "/usr/lib"),
            link("usr/lib64", "../../../lib"),
            entry("lib/a", data=b"a"),
            entry("usr/lib64/b", data=b"b"),
            hard("usr/c", "/lib/a"),
        )
    )
    assert sorted(path.name for path in (box.target / "usr/lib").iterdir()) == ["a", "b"]
    assert (box.target / "usr/c").read_bytes() == b"a"


def test_later_entries_replace_earlier_ones(box: Box) -> None:
    box.apply(
        archive(
            directory("d"),
            entry("d/x", data=b"1"),
            entry("d", data=b"now a file"),
            entry("f", data=b"old"),
            hard("g", "f"),
            entry("f", data=b"new"),
            entry("p", Kind.FIFO),
            entry("p", data=b"no fifo"),
            entry("b", Kind.BLOCK_DEVICE, device=(8, 0)),
            entry("b", data=b"no device"),
            directory("m"),
            entry("m/1", data=b"1"),
            directory("m", mode=0o700),
        )
    )
    assert (box.target / "d").read_bytes() == b"now a file"
    assert (box.target / "g").read_bytes() == b"old", "a hard link is not written through"
    assert (box.target / "p").read_bytes() == b"no fifo"
    assert (box.target / "b").read_bytes() == b"no device"
    assert (box.target / "m/1").exists()
    assert stat.S_IMODE((box.target / "m").stat().st_mode) == 0o700


def test_sparse_files_have_holes(box: Box) -> None:
    body = b"2\n0\n2\n9000000\n4\n".ljust(512, b"\0") + b"abcdef"
    member = tarfile.TarInfo("GNUSparseFile.0/x")
    member.size = len(body)
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "x",
        "GNU.sparse.realsize": "10000000",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO(body))
    box.apply(out.getvalue())
    status = (box.target / "x").stat()
    assert (status.st_size, status.st_blocks < 100) == (10_000_000, True)
    with (box.target / "x").open("rb") as file:
        assert file.read(3) == b"ab\0"
        file.seek(9_000_000)
        assert file.read(5) == b"cdef\0"


def test_bombs_are_stopped(box: Box) -> None:
    with pytest.raises(errors.Invalid, match="unpacks to more than"):
        box.apply(archive(entry("x", data=bytes(5000))), bounds=limits.Limits(unpacked_bytes_max=4000))
    with pytest.raises(errors.Invalid, match="more than 3 entries"):
        box.apply(archive(*(entry(str(number)) for number in range(4))), bounds=limits.Limits(entries_max=3))


# Several layers.


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def test_implied_directories_look_like_those_below(box: Box) -> None:
    box.apply(
        archive(directory("tmp", mode=0o1777, uid=3, mtime_ns=5_000_000_000), directory("tmp/in", mode=0o711))
    )
    box.push()
    box.apply(archive(entry("tmp/in/x", data=b"x"), entry("new/x")))
    status = (box.target / "tmp").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o1777, 3, 5)
    assert stat.S_IMODE((box.target / "tmp/in").stat().st_mode) == 0o711
    assert stat.S_IMODE((box.target / "new").stat().st_mode) == 0o755


def test_a_link_of_a_lower_layer_is_followed(box: Box) -> None:
    box.apply(
        archive(directory("usr/lib"), link("lib", "usr/lib"), entry("usr/lib/a", data=b"a", mode=0o600))
    )
    box.push()
    box.apply(archive(entry("lib/b", data=b"b"), hard("lib/c", "lib/a")))
    assert sorted(str(path.relative_to(box.target)) for path in box.target.rglob("*")) == [
        *("usr", "usr/lib", "usr/lib/a", "usr/lib/b", "usr/lib/c")
    ]
    assert (box.target / "usr/lib/c").read_bytes() == b"a"


def test_whiteouts_become_devices_and_marks(box: Box) -> None:
    box.apply(archive(entry("gone"), entry("d/a"), entry("d/b"), entry("e/a"), entry("keep")))
    box.push()
    box.apply(
        archive(
            entry(".wh.gone"),
            entry("d/.wh.a"),
            entry("e/new"),
            entry("e/.wh..wh..opq"),
            entry(".wh.keep"),
            entry("keep", data=b"of this layer"),
            entry(".wh.never"),
        )
    )
    assert is_whiteout(box.target / "gone")
    assert is_whiteout(box.target / "d/a")
    assert is_opaque(box.target / "e")
    assert (box.target / "e/new").exists()
    assert (box.target / "keep").read_bytes() == b"of this layer"
    assert not os.path.lexists(box.target / "never"), "there is nothing to hide"


def test_a_directory_after_its_whiteout_is_opaque(box: Box) -> None:
    box.apply(archive(entry("d/old")))
    box.push()
    box.apply(archive(entry(".wh.d"), directory("d"), entry("d/new")))
    assert is_opaque(box.target / "d")
    box.push()
    box.apply(archive(entry(".wh.d"), entry("d/newer")))
    assert is_opaque(box.target / "d")
    box.push()
    box.apply(archive(entry("d/x"), entry(".wh.d")))
    assert is_opaque(box.target / "d")
    assert (box.target / "d/x").exists()


def test_an_opaque_root_hides_every_name(box: Box) -> None:
    box.apply(archive(entry("a"), entry("d/x")))
    box.push()
    box.apply(archive(entry("d/new"), entry(".wh..wh..opq")))
    assert is_whiteout(box.target / "a")
    assert is_opaque(box.target / "d")


def test_whiteouts_remove_from_a_merged_tree(box: Box) -> None:
    box.apply(archive(entry("gone"), entry("d/a"), entry("d/b"), entry("e/a"), entry("w/x/y")), merged=True)
    os.utime(box.target / "d", (9, 9))
    box.apply(
        archive(
            entry(".wh.gone"),
            entry("d/.wh.a"),
            entry("e/new"),
            entry("e/.wh..wh..opq"),
            entry("w/x/z"),
            entry("w/.wh.x"),
            entry("c", Kind.CHAR_DEVICE),
        ),
        merged=True,
    )
    assert sorted(str(path.relative_to(box.target)) for path in box.target.rglob("*")) == [
        *("d", "d/b", "e", "e/new", "w", "w/x", "w/x/z")
    ]
    assert (box.target / "d").stat().st_mtime == 9, (
        "a directory that the layer does not mention keeps its time"
    )
