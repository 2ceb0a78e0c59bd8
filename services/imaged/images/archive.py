"""What the archives of `docker save` and of the OCI image layout say. Pure: documents in, plans out, and back.

A docker-archive has `manifest.json`: a list of configurations, names and layers by path. An OCI archive has
`oci-layout` and `index.json`. Newer versions of Docker write one archive with both; then the manifests of the OCI part
count, because their digests are what the images were known by, and names are taken from both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.imaged.model import config as configs
from services.imaged.model import descriptor as descriptors
from services.imaged.model import digest as digests
from services.imaged.model import document as documents
from services.imaged.model import manifest as manifests
from services.imaged.model import mediatype, validate
from services.imaged.model import reference as references
from services.imaged.model.descriptor import Descriptor
from services.imaged.model.manifest import Index, Manifest
from services.kit import errors
from services.kit.tar.entry import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.imaged.images.staging import Staged, StagedFile
    from services.imaged.model.config import ImageConfig
    from services.imaged.model.digest import Digest

IMAGES_MAX = 1000
INDEX_DEPTH_MAX = 3
DOCKER_MANIFEST = "manifest.json"
OCI_INDEX = "index.json"
OCI_LAYOUT = "oci-layout"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """An image that an archive holds completely."""

    manifest: Manifest
    manifest_bytes: bytes
    descriptor: Descriptor
    """Of the manifest."""
    target: Descriptor
    """What its names stand for: the manifest, or the index that lists it."""
    config: ImageConfig
    names: tuple[str, ...]
    """Canonical."""
    documents: tuple[Digest, ...]
    """Indexes of the archive to keep as well."""


def plan(
    staged: Staged, choose: Callable[[Sequence[Descriptor]], Sequence[Descriptor]]
) -> list[PlannedImage]:
    """Return the images in an archive.

    Args:
        staged: Its content.
        choose: Of the manifests of one index that the archive holds, those to load, the best one first.

    Raises:
        errors.Invalid: With reason ARCHIVE_INVALID or DIGEST_MISMATCH: it is not an archive of images, or incomplete.
    """
    docker = staged.document(DOCKER_MANIFEST, documents.DOCUMENT_BYTES_MAX)
    index = staged.document(OCI_INDEX, documents.DOCUMENT_BYTES_MAX)
    if docker is None and index is None:
        raise invalid(f"it has neither {DOCKER_MANIFEST} nor {OCI_INDEX}, so it is no archive of images")
    entries = _docker_entries(docker) if docker is not None else []
    if index is not None and staged.find(OCI_LAYOUT) is not None:
        names: dict[Digest, list[str]] = {}
        for entry in entries:
            file = staged.find(entry.text("Config"))
            if file is not None:
                names.setdefault(file.digest, []).extend(entry.texts("RepoTags"))
        images = _OciPlanner(staged, choose, names).plan(index)
    else:
        images = [_plan_docker(staged, entry) for entry in entries]
    if not images:
        raise invalid("it holds no image")
    if len(images) > IMAGES_MAX:
        raise invalid(f"it holds more than {IMAGES_MAX} images")
    return images


def _docker_entries(data: bytes) -> list[documents.Document]:
    value = documents.load(data, DOCKER_MANIFEST)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"{DOCKER_MANIFEST} is not a list of objects")
    return [documents.Document(item, f"{DOCKER_MANIFEST}[{index}]") for index, item in enumerate(value)]


def _plan_docker(staged: Staged, entry: documents.Document) -> PlannedImage:
    config_file = _file(staged, entry.text("Config"))
    if config_file.data is None:
        raise invalid("an image configuration is too large")
    config = configs.parse(config_file.data)
    paths = entry.texts("Layers")
    if len(paths) != len(config.diff_ids):
        raise invalid(f"an image has {len(paths)} layers, its configuration says {len(config.diff_ids)}")
    layers = tuple(
        _docker_layer(_file(staged, path), path, diff_id)
        for path, diff_id in zip(paths, config.diff_ids, strict=True)
    )
    manifest = Manifest(
        media_type=mediatype.OCI_MANIFEST,
        config=Descriptor(
            media_type=mediatype.OCI_CONFIG, digest=config_file.digest, size_bytes=config_file.size_bytes
        ),
        layers=layers,
    )
    rendered = manifest.render()
    descriptor = Descriptor(
        media_type=manifest.media_type, digest=digests.of(rendered), size_bytes=len(rendered)
    )
    return PlannedImage(
        manifest=manifest,
        manifest_bytes=rendered,
        descriptor=descriptor,
        target=descriptor,
        config=config,
        names=_names(entry.texts("RepoTags")),
        documents=(),
    )


def _docker_layer(file: StagedFile, path: str, diff_id: Digest) -> Descriptor:
    compression = mediatype.detect_compression(file.head)
    if compression == "none" and file.digest != diff_id:
        raise errors.Invalid(
            f"layer {path[:200]!r} has digest {file.digest.short}, the image says {diff_id.short}: it is damaged",
            reason="DIGEST_MISMATCH",
        )
    return Descriptor(
        media_type=mediatype.oci_layer(compression), digest=file.digest, size_bytes=file.size_bytes
    )


def _file(staged: Staged, path: str) -> StagedFile:
    file = staged.find(path) if path else None
    if file is None:
        raise invalid(f"it names {path[:200]!r}, which is not in it")
    return file


class _OciPlanner:
    """Walks the indexes of an OCI layout."""

    def __init__(
        self,
        staged: Staged,
        choose: Callable[[Sequence[Descriptor]], Sequence[Descriptor]],
        names: dict[Digest, list[str]],
    ) -> None:
        self._staged = staged
        self._choose = choose
        self._names = names

    def plan(self, index_bytes: bytes) -> list[PlannedImage]:
        index = manifests.parse(index_bytes, mediatype.OCI_INDEX)
        assert isinstance(index, Index), "parsed as an index"
        by_digest: dict[Digest, PlannedImage] = {}
        for descriptor in index.manifests:
            for image in self._images(descriptor, descriptor, (), _annotated_names(descriptor)):
                known = by_digest.get(image.descriptor.digest)
                names = dict.fromkeys((*(known.names if known else ()), *image.names))
                by_digest[image.descriptor.digest] = replace(image, names=tuple(names))
        return list(by_digest.values())

    def _images(
        self, descriptor: Descriptor, target: Descriptor, above: tuple[Digest, ...], names: tuple[str, ...]
    ) -> list[PlannedImage]:
        if len(above) > INDEX_DEPTH_MAX:
            raise invalid("its indexes are nested too deeply")
        data = self._content(descriptor)
        parsed = manifests.parse(data, descriptor.media_type)
        if isinstance(parsed, Index):
            here = [
                entry
                for entry in parsed.manifests
                if entry.digest in self._staged.by_digest and _is_image(entry)
            ]
            images: list[PlannedImage] = []
            for entry in self._choose(here):
                # A name stands for one image: the best of those that were chosen.
                found = self._images(entry, target, (*above, descriptor.digest), () if images else names)
                images += found
            return images
        return [self._image(descriptor, target, above, names, data, parsed)]

    def _image(
        self,
        descriptor: Descriptor,
        target: Descriptor,
        above: tuple[Digest, ...],
        names: tuple[str, ...],
        data: bytes,
        manifest: Manifest,
    ) -> PlannedImage:
        config_bytes = self._content(manifest.config)
        config = configs.parse(config_bytes)
        validate.check_image(manifest, config)
        for layer in manifest.layers:
            self._present(layer)
        tags = _names(self._names.get(manifest.config.digest, []))
        return PlannedImage(
            manifest=manifest,
            manifest_bytes=data,
            descriptor=Descriptor(
                media_type=manifest.media_type, digest=descriptor.digest, size_bytes=len(data)
            ),
            target=target,
            config=config,
            names=tuple(dict.fromkeys((*tags, *names))),
            documents=above,
        )

    def _content(self, descriptor: Descriptor) -> bytes:
        file = self._present(descriptor)
        if file.data is None:
            raise invalid(f"document {descriptor.digest.short} has {file.size_bytes} bytes")
        return file.data

    def _present(self, descriptor: Descriptor) -> StagedFile:
        """Return the file with the content of a descriptor: found by what it is, whatever its path says."""
        file = self._staged.by_digest.get(descriptor.digest)
        if file is None:
            path = f"blobs/sha256/{descriptor.digest.hex}"
            if (other := self._staged.find(path)) is not None:
                raise errors.Invalid(
                    f"{path} has digest {other.digest}: the archive is damaged", reason="DIGEST_MISMATCH"
                )
            raise invalid(f"content {descriptor.digest} is missing")
        if file.size_bytes != descriptor.size_bytes:
            raise invalid(f"content {descriptor.digest} has another size than its descriptor says")
        return file


def _is_image(descriptor: Descriptor) -> bool:
    """Return whether an entry of an index may be an image; attestations, for instance, say that they are not."""
    return "vnd.docker.reference.type" not in descriptor.annotations


def _annotated_names(descriptor: Descriptor) -> tuple[str, ...]:
    """Return the name that an entry of index.json carries. A mere tag, as OCI tools write it, is no name."""
    full = descriptor.annotations.get(descriptors.ANNOTATION_CONTAINERD_NAME, "")
    short = descriptor.annotations.get(descriptors.ANNOTATION_REF_NAME, "")
    if full:
        return _names([full])
    return _names([short]) if ":" in short or "/" in short else ()


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for text in texts:
        reference = references.parse(text).with_default_tag()
        if reference.tag:
            names[
                str(references.Reference(domain=reference.domain, path=reference.path, tag=reference.tag))
            ] = None
    return tuple(names)
