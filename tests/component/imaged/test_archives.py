"""Archives of images: what is saved loads again, what Docker writes loads, what is bad is refused whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from beeyard.image.v1 import image_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.imaged.rig import ROOTFS, Daemon, tar, untar

pytestmark = pytest.mark.root

SECOND = tar({"etc/.wh.hosts": "", "srv/page": "hello"})


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config_of(*layers: bytes, **fields: Any) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(layer) for layer in layers]},
        }
        | fields
    ).encode()


def docker_archive(
    *layers: bytes, tags: list[str] | None = None, config: bytes = b"", **extra: bytes
) -> bytes:
    """Return an archive as Docker wrote it for years: a directory per layer, and a link for a repeated one."""
    config = config or config_of(*layers)
    files: dict[str, bytes | str] = {f"{sha(config)}.json": config}
    paths: list[str] = []
    for number, layer in enumerate(layers):
        path = f"layer{number}/layer.tar"
        first = next((other for other in paths if files[other] == layer), None)
        files |= {f"layer{number}/VERSION": "1.0", f"layer{number}/json": "{}"}
        files[path] = f"-> ../{first}" if first else layer
        paths.append(path)
    manifest = [
        {"Config": f"{sha(config)}.json", "RepoTags": ["web:1"] if tags is None else tags, "Layers": paths}
    ]
    return tar(files | extra | {"manifest.json": json.dumps(manifest), "repositories": "{}"})


def oci_archive(manifests: list[tuple[dict[str, Any], dict[str, Any]]], blobs: list[bytes]) -> bytes:
    """Return an OCI archive of manifests, each with more fields of its descriptor."""
    entries = []
    for manifest, more in manifests:
        data = json.dumps(manifest).encode()
        blobs = [*blobs, data]
        entries.append(
            {"mediaType": manifest["mediaType"], "digest": f"sha256:{sha(data)}", "size": len(data)} | more
        )
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    files: dict[str, bytes | str] = {f"blobs/sha256/{sha(blob)}": blob for blob in blobs}
    return tar(files | {"index.json": json.dumps(index), "oci-layout": '{"imageLayoutVersion":"1.0.0"}'})


def oci_manifest(config: bytes, *layers: tuple[bytes, str]) -> dict[str, Any]:
    def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": f"sha256:{sha(data)}", "size": len(data)}

    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [
            descriptor(data, f"application/vnd.oci.image.layer.v1.tar{kind}") for data, kind in layers
        ],
    }


@pytest.mark.parametrize("oci", [False, True], ids=["docker", "oci"])
async def test_what_is_saved_loads_again(daemon: Daemon, oci: bool) -> None:
    first = await daemon.import_(ROOTFS, "web:1")
    second = await daemon.import_(SECOND, "registry.example/team/tool:2")
    await client.call(daemon.images.TagImage(image_pb2.TagImageRequest(source="web:1", target="web:also")))
    archive = await daemon.save("web:1", "web:also", "registry.example/team/tool:2", second.image_id, oci=oci)
    assert archive == await daemon.save(
        "web:1", "web:also", "registry.example/team/tool:2", second.image_id, oci=oci
    )
    assert ("manifest.json" in untar(archive)) is not oci
    before = {image.id: image.manifest_digest for image in await daemon.list()}
    for name in ("web:1", "web:also", "registry.example/team/tool:2"):
        await daemon.remove(name)
    assert daemon.blobs() == set()
    loaded = await daemon.load(archive)
    assert sorted(loaded) == [
        ("registry.example/team/tool:2", second.image_id),
        ("web:1", first.image_id),
        ("web:also", first.image_id),
    ]
    assert {image.id: image.manifest_digest for image in await daemon.list()} == before


async def test_a_saved_archive_is_what_docker_reads(daemon: Daemon) -> None:
    made = await daemon.import_(ROOTFS, "web:1")
    files = untar(await daemon.save("web:1"))
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["web:1"]
    assert sha(files[entry["Config"]]) == made.image_id.removeprefix("sha256:")
    assert [files[layer] for layer in entry["Layers"]] == [ROOTFS]
    (descriptor,) = json.loads(files["index.json"])["manifests"]
    assert descriptor["digest"] == made.manifest_digest
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/library/web:1"


async def test_an_image_saved_by_id_has_no_name(daemon: Daemon) -> None:
    made = await daemon.import_(ROOTFS, "web:1")
    archive = await daemon.save(made.image_id)
    await daemon.remove("web:1")
    assert await daemon.load(archive) == [("", made.image_id)]
    assert list((await daemon.get(made.image_id)).repo_tags) == []


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
async def test_what_old_docker_wrote_loads(daemon: Daemon, wrap: Callable[[bytes], bytes]) -> None:
    archive = docker_archive(ROOTFS, SECOND, ROOTFS, tags=["web:1", "other/name:x"])
    assert [name for name, _ in await daemon.load(wrap(archive))] == ["web:1", "other/name:x"]
    image = await daemon.get("web:1")
    assert image.id == "sha256:" + sha(config_of(ROOTFS, SECOND, ROOTFS))
    assert len(image.diff_ids) == 3
    assert len(daemon.blobs()) == 4, "two layers, a configuration and a manifest"
    (mount,) = (await daemon.prepare("c", "web:1")).mounts
    assert len(mount.lower_dirs) == 3


async def test_the_same_archive_makes_the_same_manifest_everywhere(
    daemon: Daemon, make_daemon: Callable[..., Daemon]
) -> None:
    other = make_daemon("two")
    await other.start()
    for each in (daemon, other):
        await each.load(
            docker_archive(ROOTFS, gzip.compress(SECOND, mtime=0), config=config_of(ROOTFS, SECOND))
        )
    assert (await daemon.get("web:1")).manifest_digest == (await other.get("web:1")).manifest_digest


@pytest.mark.parametrize(
    ("compress", "kind"),
    [(bytes, ""), (gzip.compress, "+gzip"), (zstandard.compress, "+zstd"), (gzip.compress, "")],
    ids=["plain", "gzip", "zstd", "gzip by another name"],
)
async def test_oci_archives_load(daemon: Daemon, compress: Callable[[bytes], bytes], kind: str) -> None:
    config, layer = config_of(ROOTFS), compress(ROOTFS)
    name = {"annotations": {"org.opencontainers.image.ref.name": "registry.example/x:1"}}
    archive = oci_archive([(oci_manifest(config, (layer, kind)), name)], [config, layer])
    assert await daemon.load(archive) == [("registry.example/x:1", f"sha256:{sha(config)}")]


async def test_the_nodes_platform_is_taken_from_an_index(daemon: Daemon) -> None:
    mine, other = config_of(ROOTFS), config_of(SECOND, architecture="s390x")
    manifests = [oci_manifest(other, (SECOND, "")), oci_manifest(mine, (ROOTFS, ""))]
    blobs = [json.dumps(manifest).encode() for manifest in manifests]
    inner = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"mediaType": manifest["mediaType"], "digest": f"sha256:{sha(blob)}", "size": len(blob)}
            | {"platform": {"os": "linux", "architecture": architecture}}
            for manifest, blob, architecture in zip(manifests, blobs, ["s390x", "amd64"], strict=True)
        ],
    }
    name = {"annotations": {"io.containerd.image.name": "docker.io/library/web:1"}}
    archive = oci_archive([(inner, name)], [mine, other, ROOTFS, SECOND, *blobs])
    assert await daemon.load(archive) == [("web:1", f"sha256:{sha(mine)}")]
    image = await daemon.get("web:1")
    assert image.repo_digests == [f"web@sha256:{sha(json.dumps(inner).encode())}"]
    assert await daemon.load(archive, ["linux/s390x"]) == [("web:1", f"sha256:{sha(other)}")]


def damaged(data: bytes, needle: bytes, replacement: bytes) -> bytes:
    assert needle in data
    return data.replace(needle, replacement)


GOOD_OCI = oci_archive([(oci_manifest(config_of(ROOTFS), (ROOTFS, "")), {})], [config_of(ROOTFS), ROOTFS])
EVIL_LINK = io.BytesIO()
with tarfile.open(fileobj=EVIL_LINK, mode="w") as _tar:
    _info = tarfile.TarInfo("layer0/layer.tar")
    _info.type, _info.linkname = tarfile.SYMTYPE, "/etc/shadow"
    _tar.addfile(_info)


def with_manifest(manifest: Any, **files: bytes | str) -> bytes:
    return tar({**files, "manifest.json": json.dumps(manifest)})


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ARCHIVE_INVALID"),
    "rubbish": (b"x" * 5000, "ARCHIVE_INVALID"),
    "no images": (tar({"a": "b"}), "ARCHIVE_INVALID"),
    "an empty list": (with_manifest([]), "ARCHIVE_INVALID"),
    "no list": (with_manifest({}), "ARCHIVE_INVALID"),
    "bad json": (tar({"manifest.json": "{"}), "DOCUMENT_INVALID"),
    "cut": (docker_archive(ROOTFS)[:4000], "ARCHIVE_INVALID"),
    "climbs": (docker_archive(ROOTFS, **{"../../evil": b"x"}), "ARCHIVE_INVALID"),
    "links out": (EVIL_LINK.getvalue(), "ARCHIVE_INVALID"),
    "names a path outside": (
        with_manifest([{"Config": "../../etc/passwd", "RepoTags": None, "Layers": []}]),
        "ARCHIVE_INVALID",
    ),
    "names an absolute path": (
        with_manifest([{"Config": "/etc/passwd", "RepoTags": None, "Layers": []}]),
        "ARCHIVE_INVALID",
    ),
    "a link in a circle": (
        tar({"a": "-> b", "b": "-> a", "manifest.json": '[{"Config":"a"}]'}),
        "ARCHIVE_INVALID",
    ),
    "too few layers": (docker_archive(ROOTFS, config=config_of(ROOTFS, SECOND)), "ARCHIVE_INVALID"),
    "another layer": (docker_archive(SECOND, config=config_of(ROOTFS)), "DIGEST_MISMATCH"),
    "another layer, compressed": (
        docker_archive(gzip.compress(SECOND), config=config_of(ROOTFS)),
        "DIGEST_MISMATCH",
    ),
    "a layer that climbs": (docker_archive(tar({"../../evil": "x"})), "ARCHIVE_INVALID"),
    "a good layer, then a bad one": (docker_archive(ROOTFS, tar({"../evil": "x"})), "ARCHIVE_INVALID"),
    "a layer that is no tar": (docker_archive(b"no tar" * 200), "ARCHIVE_INVALID"),
    "a bad name": (docker_archive(ROOTFS, tags=["Bad Name"]), "REFERENCE_INVALID"),
    "a damaged blob": (damaged(GOOD_OCI, b"127.0.0.1", b"6.6.6.6.6"), "DIGEST_MISMATCH"),
    "a missing blob": (
        oci_archive([(oci_manifest(config_of(ROOTFS), (ROOTFS, "")), {})], [config_of(ROOTFS)]),
        "ARCHIVE_INVALID",
    ),
}


async def test_a_bad_archive_says_why_and_leaves_nothing(daemon: Daemon) -> None:
    for name, (data, reason) in BAD.items():
        with pytest.raises(errors.Invalid) as caught:
            await daemon.load(data)
        assert caught.value.reason == reason, f"{name}: {caught.value.message}"
        left = (daemon.blobs(), daemon.ingests(), daemon.directories(), await daemon.list())
        assert left == (set(), [], set(), []), name
    await daemon.trash_is_empty()


async def test_a_client_that_goes_away_leaves_nothing(daemon: Daemon) -> None:
    big = docker_archive(tar({"big": bytes(3 << 20)}))
    call = daemon.images.Load()
    await call.write(image_pb2.LoadRequest(spec=image_pb2.LoadSpec()))
    for start in range(0, len(big) // 2, 500_000):
        await call.write(image_pb2.LoadRequest(chunk=big[start : start + 500_000]))
    call.cancel()
    assert [name for name, _ in await daemon.load(docker_archive(ROOTFS))] == ["web:1"]
    assert daemon.ingests() == []


async def test_saving_what_is_not_here_fails_before_the_first_byte(daemon: Daemon) -> None:
    with pytest.raises(errors.NotFound) as caught:
        await daemon.save("nope:1")
    assert caught.value.reason == "IMAGE_NOT_FOUND"
    made = await daemon.import_(ROOTFS, "web:1")
    (daemon.state / "content/blobs/sha256" / sha(ROOTFS)).unlink()
    with pytest.raises(errors.NotFound) as missing:
        await daemon.save(made.image_id)
    assert missing.value.reason == "BLOB_NOT_FOUND"
