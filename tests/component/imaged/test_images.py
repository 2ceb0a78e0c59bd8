"""Images from import to removal, over the real socket."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beeyard.image.v1 import image_pb2, snapshot_pb2
from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from tests.component.imaged.rig import ROOTFS, Daemon, tar

pytestmark = pytest.mark.root


async def test_an_imported_archive_is_an_image(daemon: Daemon) -> None:
    made = await daemon.import_(
        ROOTFS,
        "web:1",
        changes=[
            'CMD ["/bin/sh"]',
            "EXPOSE 80",
            "LABEL a=b",
            "ENV A=1",
            "HEALTHCHECK --interval=5s CMD true",
        ],
        message="by hand",
    )
    (image,) = await daemon.list()
    assert image.id == made.image_id
    assert image.repo_tags == ["web:1"]
    assert image.manifest_digest == made.manifest_digest
    assert list(image.diff_ids) == ["sha256:" + hashlib.sha256(ROOTFS).hexdigest()]
    assert image.chain_id == image.diff_ids[0]
    assert image.size_bytes == 3002 + 20
    assert image.comment == "by hand"
    assert list(image.config.cmd) == ["/bin/sh"]
    assert list(image.config.exposed_ports) == ["80/tcp"]
    assert dict(image.config.labels) == {"a": "b"}
    assert image.config.healthcheck.interval_ms == 5000
    blob = daemon.state / "content/blobs/sha256"
    config = (blob / made.image_id.removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(config).hexdigest() == made.image_id.removeprefix("sha256:"), "the id is the digest"
    assert json.loads(config)["history"] == [{"created": json.loads(config)["created"], "comment": "by hand"}]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
async def test_compressed_archives_make_the_same_layer(
    daemon: Daemon, compress: Callable[[bytes], bytes]
) -> None:
    await daemon.import_(compress(ROOTFS), "web:1")
    assert (await daemon.get("web:1")).diff_ids == ["sha256:" + hashlib.sha256(ROOTFS).hexdigest()]


async def test_the_store_is_an_oci_layout(daemon: Daemon) -> None:
    made = await daemon.import_(ROOTFS, "web:1")
    assert (daemon.state / "content/oci-layout").read_text() == '{"imageLayoutVersion": "1.0.0"}'
    for digest in (made.image_id, made.manifest_digest):
        blob = daemon.state / "content/blobs/sha256" / digest.removeprefix("sha256:")
        assert f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}" == digest
        assert blob.stat().st_mode & 0o777 == 0o400
    assert (daemon.state.stat().st_mode & 0o777) == 0o700
    (entry,) = json.loads((daemon.state / "content/index.json").read_text())["manifests"]
    assert entry["digest"] == made.manifest_digest
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "docker.io/library/web:1"
    await daemon.remove("web:1")
    assert json.loads((daemon.state / "content/index.json").read_text())["manifests"] == []


async def test_images_are_found_by_name_id_prefix_and_digest(daemon: Daemon) -> None:
    made = await daemon.import_(ROOTFS, "team/web")
    hex_id = made.image_id.removeprefix("sha256:")
    for text in (
        *(
            "team/web",
            "team/web:latest",
            "docker.io/team/web",
            made.image_id,
            hex_id,
            hex_id[:12],
            hex_id[:4],
        ),
        *(made.manifest_digest, f"team/web@{made.manifest_digest}", f"team/web:x@{made.manifest_digest}"),
    ):
        assert (await daemon.get(text)).id == made.image_id, text
    for text in ("web", "team/web:2", hex_id[:3], "ffff" + hex_id, "team/web@sha256:" + "0" * 64):
        with pytest.raises(errors.NotFound) as caught:
            await daemon.get(text)
        assert caught.value.reason == "IMAGE_NOT_FOUND"
    with pytest.raises(errors.Invalid) as bad:
        await daemon.get("Team/Web:")
    assert bad.value.reason == "REFERENCE_INVALID"


async def test_names_move_and_leave_nameless_images(daemon: Daemon) -> None:
    first = await daemon.import_(ROOTFS, "web:1")
    second = await daemon.import_(tar({"other": "x"}), "web:1")
    assert (await daemon.get("web:1")).id == second.image_id
    assert list((await daemon.get(first.image_id)).repo_tags) == []
    assert [image.id for image in await daemon.list(dangling=["true"])] == [first.image_id]
    await client.call(
        daemon.images.TagImage(image_pb2.TagImageRequest(source=first.image_id, target="old:1"))
    )
    assert await daemon.tags() == ["old:1", "web:1"]
    assert [image.id for image in await daemon.list(reference=["old"])] == [first.image_id]
    assert [image.id for image in await daemon.list(before=["web:1"])] == [first.image_id]


async def test_lists_are_paged(daemon: Daemon) -> None:
    ids = [(await daemon.import_(tar({str(number): "x"}), f"i{number}")).image_id for number in range(5)]
    found: list[str] = []
    token = ""
    while True:
        request = image_pb2.ListImagesRequest(page_size=2, page_token=token)
        page = await client.call(daemon.images.ListImages(request))
        found += [image.id for image in page.images]
        token = page.next_page_token
        if not token:
            break
    assert found == ids[::-1], "the newest comes first"


async def test_removal_takes_what_nothing_else_needs(daemon: Daemon) -> None:
    await daemon.import_(ROOTFS, "a:1")
    await client.call(daemon.images.TagImage(image_pb2.TagImageRequest(source="a:1", target="b:1")))
    other = await daemon.import_(ROOTFS, "c:1", changes=["USER 1"])
    assert len(daemon.directories()) == 1, "the same layer is unpacked once"
    assert (await daemon.remove("a:1")).untagged == ["a:1"]
    with pytest.raises(errors.FailedPrecondition):
        await client.call(daemon.images.TagImage(image_pb2.TagImageRequest(source="b:1", target="b:2")))
        await daemon.remove((await daemon.get("b:1")).id)
    removed = await daemon.remove((await daemon.get("b:1")).id, force=True)
    assert list(removed.untagged) == ["b:1", "b:2"]
    assert len(removed.deleted) == 1, "the other image keeps the layer"
    assert len(daemon.blobs()) == 3
    removed = await daemon.remove("c:1")
    assert removed.deleted[0] == other.image_id
    assert (daemon.blobs(), daemon.directories(), await daemon.list()) == (set(), set(), [])
    await daemon.trash_is_empty()


async def test_an_image_that_a_container_uses_stays(daemon: Daemon) -> None:
    made = await daemon.import_(ROOTFS, "web:1")
    prepared = await daemon.prepare("container-1", "web:1")
    assert prepared.image_id == made.image_id
    assert (await daemon.get("web:1")).container_count == 1
    with pytest.raises(errors.FailedPrecondition, match="container-1") as caught:
        await daemon.remove("web:1")
    assert caught.value.reason == "IMAGE_IN_USE"
    assert list((await daemon.remove("web:1", force=True)).deleted) == []
    assert (await daemon.get(made.image_id)).container_count == 1
    request = image_pb2.PruneImagesRequest(all=True)
    assert list((await client.call(daemon.images.PruneImages(request))).deleted) == []
    await daemon.remove_snapshot("container-1")
    pruned = await client.call(daemon.images.PruneImages(image_pb2.PruneImagesRequest()))
    assert made.image_id in pruned.deleted
    assert pruned.reclaimed_bytes > len(ROOTFS)
    assert daemon.directories() == set()


async def test_prune_spares_names_unless_all(daemon: Daemon) -> None:
    await daemon.import_(ROOTFS, "web:1", changes=["LABEL keep=1"])
    await daemon.import_(tar({"x": "y"}), "tmp:1")
    prune = daemon.images.PruneImages
    assert list((await client.call(prune(image_pb2.PruneImagesRequest()))).deleted) == []
    filters = {"label!": image_pb2.StringList(values=["keep"])}
    pruned = await client.call(prune(image_pb2.PruneImagesRequest(all=True, filters=filters)))
    assert list(pruned.untagged) == ["tmp:1"]
    assert await daemon.tags() == ["web:1"]


async def test_images_tell_of_themselves_as_dockers(daemon: Daemon) -> None:
    made = (await daemon.import_(ROOTFS, "web:1", changes=["LABEL a=b"])).image_id
    for target in ("web:2", "registry.example/web:3"):
        await client.call(daemon.images.TagImage(image_pb2.TagImageRequest(source="web:1", target=target)))
    await daemon.load(await daemon.save("web:1", "web:2"))
    await daemon.remove("web:2")
    await daemon.prepare("c", "web:1")
    commit = snapshot_pb2.CommitImageRequest(key="c", reference="new:1")
    committed = (await client.call(daemon.snapshots.CommitImage(commit))).image_id
    await client.call(daemon.images.PruneImages(image_pb2.PruneImagesRequest(all=True)))
    with pytest.raises(errors.FailedPrecondition):
        await daemon.remove(made)

    told = await daemon.told()
    assert {event.type for event in told} == {"image"}
    assert [(event.action, event.id, event.attributes["name"]) for event in told[:-1]] == [
        ("tag", made, "web:1"),
        ("import", made, made),
        ("tag", made, "web:2"),
        ("tag", made, "registry.example/web:3"),
        ("save", made, made),
        ("load", made, made),
        ("untag", made, made),
        ("tag", committed, "new:1"),
        ("untag", committed, committed),
        ("delete", committed, committed),
    ]
    assert [event.attributes["a"] for event in told[:-2]] == ["b"] * 9, "labels of all that are still there"
    assert (told[-1].action, told[-1].id, list(told[-1].attributes)) == ("prune", "", ["reclaimed"])
    assert [event.action for event in await daemon.told(image=["web"], event=["tag"])] == ["tag", "tag"]
    with pytest.raises(errors.Invalid, match="colour"):
        await daemon.told(colour=["red"])


async def test_history_shows_each_step(daemon: Daemon) -> None:
    made = await daemon.import_(ROOTFS, "web:1")
    await daemon.prepare("c", "web:1")
    commit = snapshot_pb2.CommitImageRequest(
        key="c",
        reference="web:2",
        message="more",
        changes=["USER 7", "ENV C=$A"],
        author="me",
        ran=image_pb2.ImageConfig(cmd=["sh", "-c", "true"], env=["A=b"], user="6"),
    )
    await client.call(daemon.snapshots.CommitImage(commit))
    request = image_pb2.GetImageHistoryRequest(reference="web:2")
    entries = (await client.call(daemon.images.GetImageHistory(request))).entries
    assert [(entry.comment, entry.size_bytes) for entry in entries] == [
        ("more", 0),
        ("Imported from -", 3022),
    ]
    assert list(entries[0].tags) == ["web:2"]
    image = await daemon.get("web:2")
    assert (image.config.user, image.author, len(image.diff_ids)) == ("7", "me", 2)
    assert (list(image.config.env), list(image.config.cmd)) == (["A=b", "C=b"], ["sh", "-c", "true"])
    assert entries[0].created_by == "sh -c true"
    assert image.id != made.image_id


async def test_a_commit_holds_what_the_container_has_changed(daemon: Daemon) -> None:
    await daemon.import_(ROOTFS, "web:1")
    (mount,) = (await daemon.prepare("c", "web:1")).mounts
    upper = Path(mount.upper_dir)
    (upper / "srv").mkdir()
    (upper / "srv/page").write_text("hello")
    request = snapshot_pb2.DiffSnapshotRequest(key="c")
    batches = [batch async for batch in client.stream(daemon.snapshots.DiffSnapshot(request))]
    assert [change.path for batch in batches for change in batch.changes] == ["/srv", "/srv/page"]
    await client.call(
        daemon.snapshots.CommitImage(snapshot_pb2.CommitImageRequest(key="c", reference="web:2"))
    )
    (above,) = (await daemon.prepare("d", "web:2")).mounts
    assert (Path(above.lower_dirs[0]) / "srv/page").read_text() == "hello"
    assert len(above.lower_dirs) == 2
    export = snapshot_pb2.ExportDiffRequest(key="c")
    data = b"".join([part.chunk async for part in client.stream(daemon.snapshots.ExportDiff(export))])
    assert "sha256:" + hashlib.sha256(data).hexdigest() == (await daemon.get("web:2")).diff_ids[1]
    usage = await client.call(daemon.snapshots.GetUsage(snapshot_pb2.GetUsageRequest(key="c")))
    assert usage.inode_count == 3
    listed = await client.call(daemon.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()))
    assert {entry.key for entry in listed.snapshots} >= {"c", "d"}


BAD: list[tuple[bytes, dict[str, Any], str]] = [
    (b"", {}, "ARCHIVE_INVALID"),
    (b"no archive at all" * 100, {}, "ARCHIVE_INVALID"),
    (ROOTFS[:2000], {}, "ARCHIVE_INVALID"),
    (gzip.compress(ROOTFS)[:-20], {}, "ARCHIVE_INVALID"),
    (tar({"../evil": "x"}), {}, "ARCHIVE_INVALID"),
    (tar({"l": "-> /tmp", "l/evil": "x"}), {}, "ARCHIVE_INVALID"),
    (ROOTFS, {"changes": ["RUN x"]}, "CHANGE_INVALID"),
    (ROOTFS, {"platform": "linux"}, "PLATFORM_INVALID"),
    (ROOTFS, {"reference": "Bad:Name:"}, "REFERENCE_INVALID"),
    (ROOTFS, {"reference": "web@sha256:" + "0" * 64}, "REFERENCE_INVALID"),
]


async def test_a_bad_import_says_why_and_leaves_nothing(daemon: Daemon) -> None:
    for data, spec, reason in BAD:
        with pytest.raises(errors.Invalid) as caught:
            await daemon.import_(data, **({"reference": "web:1"} | spec))
        assert caught.value.reason == reason, caught.value.message
        left = (daemon.blobs(), daemon.ingests(), daemon.directories(), await daemon.list())
        assert left == (set(), [], set(), []), caught.value.message
    await daemon.trash_is_empty()


async def test_the_daemon_tells_about_itself(daemon: Daemon) -> None:
    await daemon.import_(ROOTFS, "web:1")
    stub: Any = system_pb2_grpc.SystemServiceStub(daemon.channel)
    assert (await client.call(stub.Ping(system_pb2.PingRequest()))).daemon == "imaged"
    facts = {
        fact.key: fact.value for fact in (await client.call(stub.GetInfo(system_pb2.GetInfoRequest()))).facts
    }
    assert (facts["IMAGES"], facts["STORAGE_DRIVER"]) == ("1", "overlay")
    (usage,) = (await client.call(stub.GetDiskUsage(system_pb2.GetDiskUsageRequest()))).usage
    assert (usage.total_count, usage.active_count) == (1, 0)
    assert usage.reclaimable_bytes == usage.size_bytes > len(ROOTFS)
    await daemon.import_(ROOTFS, "web:2", changes=["ENV A=1"])
    await daemon.prepare("c", "web:1")
    images = {image.repo_tags[0]: image for image in await daemon.list()}
    sizes = {name: image.size_bytes + image.content_size_bytes for name, image in images.items()}
    shared = {image.shared_size_bytes for image in images.values()}
    assert len(shared) == 1 and len(ROOTFS) < max(shared) < min(sizes.values())
    (usage,) = (await client.call(stub.GetDiskUsage(system_pb2.GetDiskUsageRequest()))).usage
    assert (usage.total_count, usage.active_count) == (2, 1)
    assert usage.size_bytes == sum(sizes.values()) - max(shared)
    assert usage.reclaimable_bytes == sizes["web:2"] - max(shared)
    assert "beeyard.image.v1" in (await client.call(stub.GetVersion(system_pb2.GetVersionRequest()))).apis


async def test_the_vfs_driver_does_the_same(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(settings='snapshotter = "vfs"')
    await daemon.start()
    await daemon.import_(ROOTFS, "web:1")
    (mount,) = (await daemon.prepare("c", "web:1")).mounts
    assert (mount.type, list(mount.options)) == ("bind", ["rbind", "rw"])
    assert (Path(mount.source) / "etc/hosts").exists()


async def test_a_second_daemon_on_the_same_root_is_refused(
    daemon: Daemon, make_daemon: Callable[..., Daemon]
) -> None:
    second = make_daemon("two", f'root = "{daemon.root}"')
    second.root = daemon.root
    with pytest.raises(AssertionError, match="another imaged"):
        await second.start()
