"""Makes an image present: from the node's own store, else from the first source that has it.

The parts come in parallel, each from another origin first, and layers are unpacked in order while later ones are still
coming. Everything fetched is under a resumable lease: after a failure, or a crash, the next pull goes on.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.imaged.images import catalog as catalogs
from services.imaged.images.registrar import Registration
from services.imaged.layers.chain import chain_ids
from services.imaged.model import document, manifest, validate
from services.imaged.model import platform as platforms
from services.imaged.model import reference as references
from services.imaged.pull.ports import Absence, Query, Resolution
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.imaged.images.catalog import Catalog
    from services.imaged.images.documents import Documents
    from services.imaged.images.events import ImageEvents
    from services.imaged.images.progress import Feed
    from services.imaged.images.registrar import Registrar
    from services.imaged.images.unpack import Unpacker
    from services.imaged.model.config import ImageConfig
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.manifest import Manifest
    from services.imaged.model.platform import Platform
    from services.imaged.model.reference import Reference
    from services.imaged.pull.fetch import Fetcher
    from services.imaged.pull.ports import Origin, Source
    from services.imaged.store.blobs import BlobStore
    from services.imaged.store.images import ImageRecord
    from services.imaged.store.leases import Lease, Leases

_log = log.get(__name__)

LAYERS_AT_ONCE_MAX = 4


class Policy(enum.Enum):
    """When to look outside of the node."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSpec:
    """What is wanted."""

    text: str
    """Reference, or an id of an image that is here."""
    platform: Platform
    policy: Policy = Policy.MISSING
    hints: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    """Names of sources that are not to be asked."""
    registry_auth: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """The image that is present now."""

    reference: str
    record: ImageRecord
    is_fetched: bool


class Puller:
    """Pulls images."""

    def __init__(
        self,
        catalog: Catalog,
        documents: Documents,
        blobs: BlobStore,
        sources: Sequence[Source],
        fetcher: Fetcher,
        unpacker: Unpacker,
        registrar: Registrar,
        leases: Leases,
        events: ImageEvents,
    ) -> None:
        self._catalog = catalog
        self._documents = documents
        self._blobs = blobs
        self._sources = sources
        self._fetcher = fetcher
        self._unpacker = unpacker
        self._registrar = registrar
        self._leases = leases
        self._events = events

    async def pull(self, spec: PullSpec, feed: Feed) -> Pulled:
        """Make the image present and unpacked.

        Raises:
            errors.NotFound: With reason IMAGE_NOT_FOUND: no source has it; the message says what each of them said.
            errors.Unavailable: A source that may have it does not answer, or nobody could deliver a part.
            errors.Invalid: With reason REFERENCE_INVALID, or what was pulled is malformed.
            errors.Exhausted: With reason DISK_FULL.
        """
        local = await self._catalog.find(spec.text)
        if local is not None and spec.policy is not Policy.ALWAYS:
            return await self._present(spec, local, feed)
        if spec.policy is Policy.NEVER:
            raise catalogs.not_found(spec.text)
        reference = _named(spec.text)
        found = await self._resolve(reference, spec, has_local=local is not None)
        if found is None:
            assert local is not None, "without a resolution there is a local image"
            return await self._present(spec, local, feed)
        known = await self._catalog.find(str(found.target.digest))
        if known is not None and known.manifest.digest == found.target.digest:
            await self._registrar.name(known, known.manifest, _name_for(reference))
            return await self._present(spec, known, feed)
        return await self._fetch(reference, spec, found, feed)

    async def unpack(self, record: ImageRecord, feed: Feed) -> str:
        """Unpack what is missing of an image that is here; return the key of its top layer."""
        return await self._unpacker.ensure(
            self._documents.manifest(record.manifest),
            self._documents.config(record.image_id),
            self._open_layer,
            feed,
        )

    async def _present(self, spec: PullSpec, record: ImageRecord, feed: Feed) -> Pulled:
        await self.unpack(record, feed)
        if (name := _digest_name(spec.text)) is not None:
            await self._registrar.name(record, record.manifest, name)
        return Pulled(reference=_shown(spec.text), record=record, is_fetched=False)

    async def _resolve(self, reference: Reference, spec: PullSpec, *, has_local: bool) -> Resolution | None:
        """Return where the image is; None if no source knows and the node has one."""
        query = Query(
            reference=reference, platform=spec.platform, hints=spec.hints, registry_auth=spec.registry_auth
        )
        reasons: list[str] = []
        unavailable: errors.Unavailable | None = None
        for source in (source for source in self._sources if source.name not in spec.excluded):
            try:
                outcome = await source.resolve(query)
            except errors.Unavailable as error:
                unavailable = unavailable or error
                reasons.append(error.message)
                continue
            if isinstance(outcome, Resolution):
                return outcome
            assert isinstance(outcome, Absence), "a source answers with one of the two"
            reasons.append(outcome.why)
        if has_local:
            return None
        said = "; ".join(reasons) or "no other source was to be asked"
        message = (
            f"image {reference.familiar} is not on this node; {said}. "
            "Make it with `swarmctl image import` or `swarmctl image load`"
        )
        if unavailable is not None:
            raise errors.Unavailable(message, reason=unavailable.reason)
        raise errors.NotFound(message, reason="IMAGE_NOT_FOUND")

    async def _fetch(self, reference: Reference, spec: PullSpec, found: Resolution, feed: Feed) -> Pulled:
        async with self._leases.hold(is_resumable=True) as lease:
            target, descriptor, parsed = await self._fetch_manifest(found, spec.platform, lease, feed)
            await lease.add((parsed.config.digest, *(layer.digest for layer in parsed.layers)))
            if parsed.config.size_bytes > document.DOCUMENT_BYTES_MAX:
                raise errors.Invalid("the image's configuration is too large", reason="IMAGE_INVALID")
            await self._fetcher.fetch(parsed.config, found.origins, feed)
            config = self._documents.config(parsed.config.digest)
            validate.check_image(parsed, config)
            await lease.add(chain_ids(config.diff_ids))
            await self._fetch_layers(parsed, config, found.origins, feed)
            registration = Registration(
                manifest=descriptor,
                image_id=parsed.config.digest,
                config=config,
                target=target,
                names=(_name_for(reference),),
            )
            await self._registrar.register([registration])
        record = await self._catalog.get(str(parsed.config.digest))
        _log.info("image_pulled", reference=str(reference), id=record.image_id, origins=len(found.origins))
        self._events.pulled(record.image_id, reference)
        return Pulled(reference=reference.familiar, record=record, is_fetched=True)

    async def _fetch_manifest(
        self, found: Resolution, platform: Platform, lease: Lease, feed: Feed
    ) -> tuple[Descriptor, Descriptor, Manifest]:
        """Return what the name stands for, the manifest's descriptor and the manifest."""
        target = await self._fetch_document(found.target, found.origins, lease, feed)
        parsed = self._documents.manifest_or_index(target)
        if isinstance(parsed, manifest.Manifest):
            return (
                replace(target, media_type=parsed.media_type),
                replace(target, media_type=parsed.media_type),
                parsed,
            )
        entry = platforms.choose(parsed.manifests, lambda entry: entry.platform, platform)
        if entry is None:
            offered = ", ".join(sorted({str(entry.platform) for entry in parsed.manifests if entry.platform}))
            raise errors.NotFound(
                f"the image exists for {offered or 'no platform'}, not for {platform}",
                reason="PLATFORM_NOT_FOUND",
            )
        descriptor = await self._fetch_document(entry, found.origins, lease, feed)
        return replace(target, media_type=parsed.media_type), descriptor, self._documents.manifest(descriptor)

    async def _fetch_document(
        self, descriptor: Descriptor, origins: Sequence[Origin], lease: Lease, feed: Feed
    ) -> Descriptor:
        """Fetch a manifest or index; return its descriptor with the size that it turned out to have."""
        if descriptor.size_bytes > manifest.MANIFEST_BYTES_MAX:
            raise errors.Invalid("the image's manifest is too large", reason="MANIFEST_INVALID")
        await lease.add((descriptor.digest,))
        await self._fetcher.fetch(descriptor, origins, feed)
        info = self._blobs.stat(descriptor.digest)
        assert info is not None, "it was just fetched, and is held"
        return replace(descriptor, size_bytes=info.size_bytes, platform=None)

    async def _fetch_layers(
        self, parsed: Manifest, config: ImageConfig, origins: Sequence[Origin], feed: Feed
    ) -> None:
        """Fetch all layers, and unpack each when it and those below it are there."""
        slots = asyncio.Semaphore(LAYERS_AT_ONCE_MAX)

        async def fetch(layer: Descriptor, turn: int) -> None:
            turned = [*origins[turn % len(origins) :], *origins[: turn % len(origins)]]
            async with slots:
                await self._fetcher.fetch(layer, turned, feed)

        layers = {layer.digest: layer for layer in parsed.layers}
        try:
            async with asyncio.TaskGroup() as group:
                fetching = {
                    digest: group.create_task(fetch(layer, turn), name=f"fetch {digest.short}")
                    for turn, (digest, layer) in enumerate(layers.items())
                }

                async def open_layer(layer: Descriptor) -> int:
                    await asyncio.shield(fetching[layer.digest])
                    return self._blobs.open(layer.digest)

                await self._unpacker.ensure(parsed, config, open_layer, feed)
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures

    async def _open_layer(self, layer: Descriptor) -> int:
        return self._blobs.open(layer.digest)


def _named(text: str) -> Reference:
    """Return the reference in `text`; an id can only mean an image that is here."""
    try:
        return references.parse(text).with_default_tag()
    except errors.Invalid:
        if catalogs.is_id(text):
            raise catalogs.not_found(text) from None
        raise


def _name_for(reference: Reference) -> str:
    """Return the name that a pull leaves: the tag, or what was pulled by digest is known by that alone."""
    return str(reference if reference.digest is None else reference.with_digest(reference.digest))


def _digest_name(text: str) -> str | None:
    """Return the name to keep if `text` is a reference by digest: the image may be here under other names only."""
    if "@" not in text:
        return None
    return _name_for(references.parse(text))


def _shown(text: str) -> str:
    try:
        return references.parse(text).with_default_tag().familiar
    except errors.Invalid:
        return text


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that the others followed from: an operating error before anything else."""
    flat: list[BaseException] = []
    pending: list[BaseException] = [failures]
    while pending:
        failure = pending.pop(0)
        if isinstance(failure, BaseExceptionGroup):
            pending = [*failure.exceptions, *pending]
        else:
            flat.append(failure)
    return next((failure for failure in flat if isinstance(failure, errors.BeeyardError)), flat[0])
