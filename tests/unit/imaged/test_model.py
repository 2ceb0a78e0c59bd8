"""Digests, platforms, manifests and configurations."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imaged.layers.chain import chain_ids
from services.imaged.model import config as configs
from services.imaged.model import digest as digests
from services.imaged.model import document, manifest, mediatype, validate
from services.imaged.model import platform as platforms
from services.imaged.model.config import Healthcheck, HistoryStep, ImageConfig, RunConfig
from services.imaged.model.descriptor import Descriptor
from services.imaged.model.platform import Platform
from services.kit import errors

AMD64 = Platform(os="linux", architecture="amd64")


def digest(text: str) -> digests.Digest:
    return digests.of(text.encode())


def descriptor(media_type: str = mediatype.OCI_LAYER, text: str = "x") -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest(text), size_bytes=len(text))


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", "sha256:xyz", "sha256:" + "A" * 64, "md5:" + "a" * 32]
)
def test_a_malformed_digest_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        digests.parse(text)
    assert caught.value.reason == "DIGEST_INVALID"


def test_chain_ids_are_those_of_the_specification() -> None:
    a, b = digest("a"), digest("b")
    assert chain_ids([]) == []
    assert chain_ids([a, b]) == [a, digests.of(f"{a} {b}".encode())]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AArch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
    ],
)
def test_platforms_have_one_spelling(text: str, canonical: str) -> None:
    assert str(platforms.parse(text)) == canonical


def test_the_best_platform_is_chosen() -> None:
    offers = [
        platforms.parse(text) for text in ("linux/arm/v6", "linux/amd64", "linux/arm/v5", "linux/arm64")
    ]
    chosen = platforms.choose(offers, lambda offer: offer, platforms.parse("linux/arm/v7"))
    assert str(chosen) == "linux/arm/v6"
    assert platforms.choose(offers, lambda offer: offer, platforms.parse("linux/s390x")) is None
    assert platforms.rank(platforms.parse("linux/amd64/v2"), platforms.parse("linux/amd64/v3")) == 1
    assert platforms.rank(platforms.parse("linux/amd64/v3"), AMD64) is None


def manifest_fields(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": descriptor(mediatype.OCI_CONFIG, "c").to_fields(),
        "layers": [descriptor().to_fields()],
    } | changes


def test_a_manifest_reads_back() -> None:
    parsed = manifest.parse(json.dumps(manifest_fields()).encode())
    assert isinstance(parsed, manifest.Manifest)
    assert manifest.parse(parsed.render()) == parsed
    assert parsed.layers == (descriptor(),)


@pytest.mark.parametrize(
    ("fields", "announced"),
    [
        (manifest_fields(), mediatype.DOCKER_MANIFEST),
        (manifest_fields(config=None), ""),
        (manifest_fields(layers="x"), ""),
        (manifest_fields(layers=[{"mediaType": "x", "digest": "sha256:1", "size": 1}]), ""),
        (manifest_fields(layers=[descriptor().to_fields() | {"size": -1}]), ""),
        (manifest_fields(layers=[descriptor().to_fields() | {"size": True}]), ""),
        (manifest_fields(manifests=[]), ""),
        (manifest_fields(layers=[descriptor().to_fields()] * 501), ""),
    ],
)
def test_a_malformed_manifest_is_refused(fields: dict[str, Any], announced: str) -> None:
    with pytest.raises(errors.Invalid):
        manifest.parse(json.dumps(fields).encode(), announced)


def test_schema_1_is_refused_with_advice() -> None:
    with pytest.raises(errors.Unsupported, match="push it again"):
        manifest.parse(json.dumps({"schemaVersion": 1, "fsLayers": []}).encode())


def test_an_index_keeps_platforms_and_annotations() -> None:
    entry = Descriptor(
        media_type=mediatype.OCI_MANIFEST,
        digest=digest("m"),
        size_bytes=1,
        platform=AMD64,
        annotations={"a": "b"},
    )
    index = manifest.Index(media_type=mediatype.OCI_INDEX, manifests=(entry,))
    assert manifest.parse(index.render()) == index


FULL = ImageConfig(
    platform=Platform(os="linux", architecture="arm", variant="v7"),
    created="2024-02-29T12:00:00.123456789Z",
    author="somebody",
    comment="why not",
    run=RunConfig(
        user="1000:1000",
        exposed_ports=("53/udp", "80/tcp"),
        env=("A=1", "PATH=/bin"),
        entrypoint=("/init",),
        cmd=("serve", "-v"),
        volumes=("/data",),
        working_dir="/srv",
        labels={"b": "2", "a": "ü"},
        stop_signal="SIGQUIT",
        healthcheck=Healthcheck(test=("CMD-SHELL", "true"), interval_ms=1500, retries=2),
        shell=("/bin/bash", "-c"),
        on_build=("RUN true",),
    ),
    diff_ids=(digest("l1"), digest("l2")),
    history=(HistoryStep(created_by="ADD x"), HistoryStep(comment="c", empty_layer=True)),
)


def test_a_configuration_reads_back() -> None:
    assert configs.parse(FULL.render()) == FULL
    assert configs.parse(ImageConfig(platform=AMD64).render()) == ImageConfig(platform=AMD64)


def test_a_configuration_of_docker_with_nulls_is_read() -> None:
    parsed = configs.parse(
        b'{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Volumes":null,"Labels":null,"Env":[]},'
        b'"rootfs":{"type":"layers","diff_ids":null},"created":"0001-01-01T00:00:00Z","unknown":[1]}'
    )
    assert parsed.run == RunConfig()
    assert parsed.created_at == datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"config":[]}',
        b'{"config":{"Cmd":["x",1]}}',
        b'{"config":{"Labels":{"a":1}}}',
        b'{"rootfs":{"diff_ids":["nope"]}}',
        b'{"config":{"Healthcheck":{"Interval":-1}}}',
        b'{"author":NaN}',
        b'{"author":"\\ud800"}',
        b'{"a":' * 20_000,
        b"\xff\xfe",
    ],
)
def test_a_malformed_configuration_is_refused(data: bytes) -> None:
    with pytest.raises(errors.Invalid):
        configs.parse(data)


@given(st.binary(max_size=200))
def test_reading_documents_is_total(data: bytes) -> None:
    for parse in (configs.parse, manifest.parse):
        with contextlib.suppress(errors.BeeyardError):
            parse(data)


def test_a_document_that_is_too_large_is_not_read() -> None:
    with pytest.raises(errors.Invalid, match="larger than"):
        document.parse(b" " * (document.DOCUMENT_BYTES_MAX + 1), "thing")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("2024-02-29T13:00:00.5+01:00", datetime(2024, 2, 29, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-02-29T12:00:00.123456789Z", datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2023-02-29T12:00:00Z", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+01:00", None),
    ],
)
def test_times_are_read(text: str, instant: datetime | None) -> None:
    assert configs.parse_time(text) == instant


def test_an_image_must_fit_together() -> None:
    good = manifest.Manifest(
        media_type=mediatype.OCI_MANIFEST,
        config=descriptor(mediatype.OCI_CONFIG),
        layers=(descriptor(), descriptor(mediatype.DOCKER_LAYER_GZIP, "y")),
    )
    validate.check_image(good, FULL)
    with pytest.raises(errors.Invalid, match="lists 2 layers, the configuration 0"):
        validate.check_image(good, ImageConfig(platform=AMD64))
    artifact = manifest.Manifest(
        media_type=mediatype.OCI_MANIFEST, config=descriptor("application/x"), layers=()
    )
    with pytest.raises(errors.Unsupported, match="artifact"):
        validate.check_image(artifact, ImageConfig(platform=AMD64))
