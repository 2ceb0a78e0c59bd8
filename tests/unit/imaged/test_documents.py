"""The documents that we write, held against the schemas of the OCI image specification and against golden files.

A changed golden file means changed digests: nodes of different versions would then make different images of the same
archive. So it is never changed in passing.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT4

from services.imaged.images import importing
from services.imaged.images.staging import Staged
from services.imaged.model import change, mediatype
from services.imaged.model import config as configs
from services.imaged.model import digest as digests
from services.imaged.model.config import HistoryStep, ImageConfig, RunConfig
from services.imaged.model.descriptor import Descriptor
from services.imaged.model.manifest import Index
from services.imaged.model.platform import Platform

GOLDEN = Path(__file__).parents[2] / "golden/imaged"

CHANGES = [
    'CMD ["serve"]',
    'ENTRYPOINT ["/init"]',
    "ENV A=1 B=2",
    "EXPOSE 80 53/udp",
    "LABEL b=2 a=1",
    "USER 1000",
    "VOLUME /data",
    "WORKDIR /srv",
    "STOPSIGNAL SIGQUIT",
    "HEALTHCHECK --interval=5s CMD true",
]


def validator(name: str) -> jsonschema.Draft4Validator:
    resources = {}
    for path in (GOLDEN / "image-spec").glob("*.json"):
        schema = json.loads(path.read_text())
        resource = referencing.Resource(contents=_without_ids(schema), specification=DRAFT4)
        resources[path.name] = resource
    registry: Any = referencing.Registry().with_resources(list(resources.items()))
    return jsonschema.Draft4Validator({"$ref": name}, registry=registry)


def _without_ids(schema: Any) -> Any:
    """Drop the addresses that the schemas give themselves: references are by file name, which then must be the base."""
    if isinstance(schema, dict):
        return {
            key: _without_ids(value)
            for key, value in schema.items()
            if key != "id" or not isinstance(value, str)
        }
    return [_without_ids(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture
def image() -> Any:
    created = configs.render_time(datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=UTC))
    layer = Descriptor(media_type=mediatype.OCI_LAYER, digest=digests.of(b"layer"), size_bytes=5)
    config = ImageConfig(
        platform=Platform(os="linux", architecture="arm64", variant="v8"),
        created=created,
        author="somebody",
        comment="a comment",
        run=change.apply_all(RunConfig(), CHANGES),
        diff_ids=(layer.digest,),
        history=(HistoryStep(created=created, comment="a comment"), HistoryStep(empty_layer=True)),
    )
    return importing.compose(Staged(), config, (layer,), None)


def test_the_configuration_is_valid_and_golden(image: Any) -> None:
    written = image.config.render()
    validator("config-schema.json").validate(json.loads(written))
    assert written.decode() + "\n" == (GOLDEN / "config.json").read_text()


def test_the_manifest_is_valid_and_golden(image: Any) -> None:
    validator("image-manifest-schema.json").validate(json.loads(image.manifest_bytes))
    assert image.manifest_bytes.decode() + "\n" == (GOLDEN / "manifest.json").read_text()


def test_an_index_is_valid(image: Any) -> None:
    entry = Descriptor(
        media_type=image.descriptor.media_type,
        digest=image.descriptor.digest,
        size_bytes=image.descriptor.size_bytes,
        platform=image.config.platform,
        annotations={"a": "b"},
    )
    index = Index(media_type=mediatype.OCI_INDEX, manifests=(entry,))
    validator("image-index-schema.json").validate(json.loads(index.render()))


def test_the_schemas_are_really_applied() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator("image-manifest-schema.json").validate({"schemaVersion": 2, "config": {}, "layers": []})
    with pytest.raises(jsonschema.ValidationError):
        validator("config-schema.json").validate({"os": "linux"})
