"""The pure decisions: what is rubbish, what goes, what recovery does, what a filter means."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imaged.images import filters, removal
from services.imaged.images.view import ImageView, NamedAs
from services.imaged.layers import whiteout
from services.imaged.layers.chain import chain_ids
from services.imaged.model import digest as digests
from services.imaged.model import glob, mediatype
from services.imaged.model import reference as references
from services.imaged.model.config import ImageConfig, RunConfig
from services.imaged.model.descriptor import Descriptor
from services.imaged.model.manifest import Manifest
from services.imaged.model.platform import Platform
from services.imaged.snapshots import recovery
from services.imaged.snapshots.ports import Kind, Snapshot
from services.imaged.snapshots.records import Record
from services.imaged.store import gc
from services.imaged.store.images import ImageRecord
from services.kit import errors
from services.kit.tar import path as paths

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def digest(text: str) -> digests.Digest:
    return digests.of(text.encode())


def image(*layers: str, labels: dict[str, str] | None = None) -> tuple[digests.Digest, Manifest, ImageConfig]:
    config = ImageConfig(
        platform=Platform(os="linux", architecture="amd64"),
        diff_ids=tuple(digest(layer) for layer in layers),
        run=RunConfig(labels=labels or {}),
    )
    manifest = Manifest(
        media_type=mediatype.OCI_MANIFEST,
        config=Descriptor(media_type=mediatype.OCI_CONFIG, digest=digests.of(config.render()), size_bytes=1),
        layers=tuple(
            Descriptor(media_type=mediatype.OCI_LAYER, digest=digest(layer), size_bytes=1) for layer in layers
        ),
    )
    return digests.of(manifest.render()), manifest, config


def snapshot(key: str, parent: str = "", kind: Kind = Kind.COMMITTED) -> Snapshot:
    return Snapshot(key=key, kind=kind, parent=parent, labels={}, created_at=NOW)


def chain(config: ImageConfig) -> list[Snapshot]:
    keys = [str(key) for key in chain_ids(config.diff_ids)]
    return [snapshot(key, parent) for key, parent in zip(keys, ["", *keys], strict=False)]


# What the garbage collector finds.


def test_an_image_keeps_its_blobs_and_layers() -> None:
    manifest_digest, manifest, config = image("a", "b")
    other_digest, other, other_config = image("a", "c")
    blobs = {
        *(manifest_digest, manifest.config.digest, digest("a"), digest("b")),
        *(other_digest, other.config.digest, digest("c"), digest("stray")),
    }
    snapshots = {entry.key: entry for entry in (*chain(config), *chain(other_config))}
    roots = gc.Roots(images={manifest_digest: (manifest, config)}, targets=set(), leased=set())
    garbage = gc.find(roots, blobs, list(snapshots.values()))
    assert set(garbage.blobs) == {other_digest, other.config.digest, digest("c"), digest("stray")}
    assert garbage.snapshots == (chain(other_config)[1].key,)


def test_leases_and_indexes_keep_what_they_name() -> None:
    _, _, config = image("a", "b")
    roots = gc.Roots(images={}, targets={digest("index")}, leased={str(digest("a")), chain(config)[1].key})
    garbage = gc.find(roots, {digest("a"), digest("index"), digest("x")}, chain(config))
    assert garbage == gc.Garbage(blobs=(digest("x"),), snapshots=())


def test_what_a_container_stands_on_is_kept() -> None:
    _, _, config = image("a", "b")
    layers = chain(config)
    roots = gc.Roots(images={}, targets=set(), leased=set())
    used = [*layers, snapshot("container", layers[0].key, Kind.ACTIVE)]
    assert gc.find(roots, (), used).snapshots == (layers[1].key,)
    assert gc.find(roots, (), [*layers, snapshot("cache", layers[1].key)]).snapshots == ()


@given(st.integers(1, 30))
def test_children_go_before_their_parents(count: int) -> None:
    _, _, config = image(*map(str, range(count)))
    layers = chain(config)
    garbage = gc.find(
        gc.Roots(images={}, targets=set(), leased=set()), (), sorted(layers, key=lambda e: e.key)
    )
    assert list(garbage.snapshots) == [entry.key for entry in reversed(layers)]


# What recovery does: every combination of what can be found.


@pytest.mark.parametrize(
    ("kind", "directory", "is_present", "boot_id"),
    list(itertools.product(Kind, ["d", ""], [True, False], ["", "this", "other"])),
)
def test_recovery_leaves_rows_and_directories_in_agreement(
    kind: Kind, directory: str, is_present: bool, boot_id: str
) -> None:
    record = Record(snapshot=snapshot("key", kind=kind), directory=directory, boot_id=boot_id)
    found = {"stray", *(["d"] if is_present else [])}
    plan = recovery.plan([record], found, "this")
    assert "stray" in plan.discard
    is_kept = "key" not in plan.forget
    if is_kept and directory and is_present:
        assert "d" not in plan.discard
    if not is_kept or not directory:
        assert ("d" in plan.discard) == is_present
    if kind is not Kind.COMMITTED:
        assert is_kept, "what belongs to a container is never dropped"
        assert (plan.lost == ("key",)) == (bool(directory) and not is_present)
    else:
        assert is_kept == ((not directory or is_present) and boot_id != "other")


# Which names and images a removal takes.


def names(*texts: str) -> list[references.Reference]:
    return [references.parse(text) for text in texts]


BY_DIGEST = f"a@{digest('m')}"


@pytest.mark.parametrize(
    ("asked", "have", "users", "force", "gone", "image_goes"),
    [
        ("a:1", ["a:1"], [], False, ["a:1"], True),
        ("a:1", ["a:1", "b:1"], [], False, ["a:1"], False),
        ("a:1", ["a:1", "b:1"], ["c"], False, ["a:1"], False),
        ("a:1", ["a:1"], ["c"], True, ["a:1"], False),
        ("a:1", ["a:1", BY_DIGEST], [], False, ["a:1", BY_DIGEST], True),
        ("a:1", ["a:1", "a:2", BY_DIGEST], [], False, ["a:1"], False),
        (BY_DIGEST, ["a:1", BY_DIGEST], [], False, [BY_DIGEST], False),
        (None, ["a:1"], [], False, ["a:1"], True),
        (None, [], [], False, [], True),
        (None, ["a:1", BY_DIGEST], [], False, ["a:1", BY_DIGEST], True),
        (None, ["a:1", "b:1"], [], True, ["a:1", "b:1"], True),
        (None, ["a:1", "b:1"], ["c"], True, ["a:1", "b:1"], False),
    ],
)
def test_removal(
    asked: str | None, have: list[str], users: list[str], force: bool, gone: list[str], image_goes: bool
) -> None:
    reference = references.parse(asked) if asked else None
    plan = removal.plan(reference, "it", names(*have), users, force=force)
    assert plan == removal.Removal(names=tuple(names(*gone)), image=image_goes)


@pytest.mark.parametrize(
    ("asked", "have", "users", "reason"),
    [
        ("a:1", ["a:1"], ["container-1"], "IMAGE_IN_USE"),
        (None, ["a:1"], ["container-1"], "IMAGE_IN_USE"),
        (None, ["a:1", "a:2"], [], "IMAGE_HAS_NAMES"),
        (None, ["a:1", "b:1"], [], "IMAGE_HAS_NAMES"),
    ],
)
def test_a_removal_that_needs_force_is_refused(
    asked: str | None, have: list[str], users: list[str], reason: str
) -> None:
    with pytest.raises(errors.FailedPrecondition) as caught:
        removal.plan(references.parse(asked) if asked else None, "it", names(*have), users, force=False)
    assert caught.value.reason == reason


# Filters.


def view(*tags: str, labels: dict[str, str] | None = None, age: timedelta = timedelta()) -> ImageView:
    manifest_digest, manifest, config = image("a", labels=labels)
    return ImageView(
        record=ImageRecord(
            manifest=Descriptor(media_type="m", digest=manifest_digest, size_bytes=1),
            image_id=manifest.config.digest,
            created_at=NOW - age,
            added_at=NOW,
        ),
        manifest=manifest,
        config=config,
        names=[
            NamedAs(reference=references.parse(tag), target_digest=manifest_digest, moved_at=NOW)
            for tag in tags
        ],
        size_bytes=1,
        layer_sizes=[1],
        users=0,
    )


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({}, True),
        ({"dangling": ["true"]}, False),
        ({"dangling": ["0"]}, True),
        ({"label": ["a"]}, True),
        ({"label": ["a=1", "b"]}, True),
        ({"label": ["a=1", "c"]}, False),
        ({"label": ["a=2"]}, False),
        ({"reference": ["web"]}, True),
        ({"reference": ["x", "web:*"]}, True),
        ({"reference": ["w*:1"]}, True),
        ({"reference": ["*/web"]}, False),
        ({"until": ["1h"]}, True),
        ({"until": ["3h"]}, False),
        ({"until": ["2024-01-01T00:00:00Z"]}, True),
        ({"until": ["1600000000"]}, False),
        ({"before": ["other"]}, True),
        ({"since": ["other"]}, False),
    ],
)
def test_filters_of_ls(values: dict[str, list[str]], passes: bool) -> None:
    chosen = filters.parse(
        values, filters.LIST_KEYS, now=NOW, created_at={"other": NOW - timedelta(minutes=5)}
    )
    shown = view("web:1", labels={"a": "1", "b": ""}, age=timedelta(hours=2))
    assert chosen.passes(shown) is passes


@pytest.mark.parametrize(
    "values",
    [
        {"nope": ["1"]},
        {"dangling": ["maybe"]},
        {"dangling": ["1", "0"]},
        {"until": ["soon"]},
        {"reference": ["[a"]},
    ],
)
def test_bad_filters_are_refused(values: dict[str, list[str]]) -> None:
    with pytest.raises(errors.Invalid) as caught:
        filters.parse(values, filters.LIST_KEYS, now=NOW, created_at={})
    assert caught.value.reason == "FILTER_INVALID"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a*c", "abc", True),
        ("a*c", "ab/c", False),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a]x", "/x", False),
        ("a\\*", "a*", True),
        ("a**b", "aXb", True),
        ("a.c", "abc", False),
    ],
)
def test_patterns_are_those_of_go(pattern: str, text: str, matches: bool) -> None:
    assert bool(glob.compile_pattern(pattern).fullmatch(text)) is matches


@given(st.text(alphabet="ab[]^-\\*?/.", max_size=12))
def test_compiling_patterns_is_total(pattern: str) -> None:
    try:
        glob.compile_pattern(pattern)
    except errors.Invalid:
        return


# Paths and whiteouts of archives.


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (b"a/b", (b"a", b"b")),
        (b"./a//b/", (b"a", b"b")),
        (b"/etc/passwd", (b"etc", b"passwd")),
        (b"a/../b", (b"b",)),
        (b".", ()),
        (b"/", ()),
        (b"", ()),
        (b"..a/...", (b"..a", b"...")),
    ],
)
def test_names_of_entries_are_cleaned(name: bytes, parts: paths.Parts) -> None:
    assert paths.split(name) == parts


@pytest.mark.parametrize(
    "name", [b"..", b"../x", b"a/../../x", b"/..", b"a\0b", b"x" * 256, b"a/" * 2500, b"a/" * 401]
)
def test_names_that_leave_or_do_not_fit_are_refused(name: bytes) -> None:
    with pytest.raises(errors.Invalid):
        paths.split(name)


@given(st.binary(max_size=60))
def test_no_name_gets_out(name: bytes) -> None:
    try:
        parts = paths.split(name)
    except errors.Invalid:
        return
    assert all(part not in {b"", b".", b".."} and b"/" not in part for part in parts)


@pytest.mark.parametrize(
    ("path", "meaning", "name"),
    [
        (b"a/b", whiteout.Meaning.ORDINARY, b""),
        (b"a/.wh.b", whiteout.Meaning.REMOVES, b"b"),
        (b"a/.wh..wh..opq", whiteout.Meaning.OPAQUE, b""),
        (b".wh..wh.plnk/1", whiteout.Meaning.IGNORED, b""),
        (b".wh..wh.aufs", whiteout.Meaning.IGNORED, b""),
        (b".wh.a/b", whiteout.Meaning.ORDINARY, b""),
        (b"a.wh.b", whiteout.Meaning.ORDINARY, b""),
    ],
)
def test_whiteouts_are_recognised(path: bytes, meaning: whiteout.Meaning, name: bytes) -> None:
    assert whiteout.read(paths.split(path)) == whiteout.Reading(meaning, name)


@pytest.mark.parametrize("path", [b"a/.wh.", b"a/.wh..", b"a/.wh..."])
def test_a_whiteout_cannot_aim_above_its_directory(path: bytes) -> None:
    with pytest.raises(errors.Invalid):
        whiteout.read(paths.split(path))
