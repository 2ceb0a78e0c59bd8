"""ImageService."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beeyard.image.v1 import image_pb2, image_pb2_grpc
from services.imaged import streams
from services.imaged.api import convert, requests
from services.imaged.images import disk_use, filters, naming, progress, saving
from services.imaged.images.events import Action
from services.imaged.images.importing import ImportSpec
from services.imaged.model import platform as platforms
from services.imaged.model import reference as references
from services.imaged.pull.puller import Policy, PullSpec
from services.kit import errors
from services.kit.events import Event, Live, Selection
from services.kit.rpc.moments import nanoseconds
from services.kit.watch import Resync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from services.imaged.images.catalog import Catalog
    from services.imaged.images.events import ImageEvents
    from services.imaged.images.importing import Importer
    from services.imaged.images.loading import Loader
    from services.imaged.images.naming import Naming
    from services.imaged.model.platform import Platform
    from services.imaged.model.reference import Reference
    from services.imaged.pull.puller import Puller
    from services.imaged.store.blobs import BlobStore
    from services.kit.rpc.types import Context
    from services.kit.seams import Clock

PAGE_MAX = 1000
SAVED_MAX = 100
_POLICIES = {
    image_pb2.PULL_POLICY_UNSPECIFIED: Policy.MISSING,
    image_pb2.PULL_POLICY_MISSING: Policy.MISSING,
    image_pb2.PULL_POLICY_ALWAYS: Policy.ALWAYS,
    image_pb2.PULL_POLICY_NEVER: Policy.NEVER,
}


class ImageApi(image_pb2_grpc.ImageServiceServicer):
    """See image.proto."""

    def __init__(
        self,
        catalog: Catalog,
        naming: Naming,
        puller: Puller,
        importer: Importer,
        loader: Loader,
        blobs: BlobStore,
        clock: Clock,
        node_platform: Platform,
        events: ImageEvents,
    ) -> None:
        self._catalog = catalog
        self._naming = naming
        self._puller = puller
        self._importer = importer
        self._loader = loader
        self._blobs = blobs
        self._clock = clock
        self._node_platform = node_platform
        self._events = events

    async def Pull(
        self, request: image_pb2.PullRequest, context: Context
    ) -> AsyncIterator[image_pb2.PullResponse]:
        """Pull an image."""
        spec = PullSpec(
            text=request.reference,
            platform=self._platform(request.platform),
            policy=_POLICIES.get(request.policy, Policy.MISSING),
            hints=tuple(request.peer_node_ids),
            excluded=frozenset({"peers"} if request.no_peers else ()),
            registry_auth=request.registry_auth,
        )
        feed = progress.Feed()
        async with progress.run(self._puller.pull(spec, feed), feed) as work:
            async for steps in work.steps():
                for step in steps:
                    yield image_pb2.PullResponse(progress=convert.progress(step))
            pulled = work.result()
        yield image_pb2.PullResponse(
            done=image_pb2.PullDone(
                reference=pulled.reference,
                image_id=str(pulled.record.image_id),
                manifest_digest=str(pulled.record.manifest.digest),
                fetched=pulled.is_fetched,
            )
        )

    async def Import(
        self, request_iterator: AsyncIterator[image_pb2.ImportRequest], context: Context
    ) -> image_pb2.ImportResponse:
        """Make an image of a root file system."""
        spec = (await requests.first(request_iterator)).spec
        made = await self._importer.make(
            ImportSpec(
                platform=self._platform(spec.platform),
                reference=naming.parse_tag(spec.reference) if spec.reference else None,
                changes=tuple(spec.changes),
                message=spec.message,
            ),
            requests.chunks(request_iterator),
        )
        return image_pb2.ImportResponse(
            image_id=str(made.image_id), manifest_digest=str(made.manifest_digest)
        )

    async def Load(
        self, request_iterator: AsyncIterator[image_pb2.LoadRequest], context: Context
    ) -> AsyncIterator[image_pb2.LoadResponse]:
        """Load an archive of images."""
        spec = (await requests.first(request_iterator)).spec
        wanted = [platforms.parse(text) for text in spec.platforms]
        feed = progress.Feed()
        loading = self._loader.load(requests.chunks(request_iterator), wanted, feed)
        async with progress.run(loading, feed) as work:
            async for steps in work.steps():
                for step in steps:
                    yield image_pb2.LoadResponse(progress=convert.progress(step))
            loaded = work.result()
        for image in loaded:
            yield image_pb2.LoadResponse(
                image=image_pb2.LoadedImage(reference=image.name, image_id=str(image.image_id))
            )

    async def Save(
        self, request: image_pb2.SaveRequest, context: Context
    ) -> AsyncIterator[image_pb2.SaveResponse]:
        """Stream an archive of images."""
        if not 0 < len(request.references) <= SAVED_MAX:
            raise errors.Invalid(f"save takes 1 to {SAVED_MAX} images", reason="REFERENCE_INVALID")
        wanted = [platforms.parse(text) for text in request.platforms]
        images: list[saving.SavedImage] = []
        for text in request.references:
            view = await self._catalog.view(await self._catalog.get(text))
            if wanted and all(platforms.rank(view.config.platform, platform) is None for platform in wanted):
                raise errors.NotFound(
                    f"image {text} is for {view.config.platform} only", reason="PLATFORM_NOT_FOUND"
                )
            names = await self._named(text, [name.reference for name in view.names])
            images.append(saving.SavedImage(view=view, references=names))
        merged = saving.merge(images)
        await streams.in_thread(saving.check, merged, self._blobs)
        with_docker = request.format != image_pb2.ARCHIVE_FORMAT_OCI
        archive = streams.produce(saving.write(merged, self._blobs, with_docker=with_docker))
        async with contextlib.aclosing(archive) as chunks:
            async for chunk in chunks:
                yield image_pb2.SaveResponse(chunk=chunk)
        for image in merged:
            self._events.tell(Action.SAVE, image.view.record.image_id)

    async def ListImages(
        self, request: image_pb2.ListImagesRequest, context: Context
    ) -> image_pb2.ListImagesResponse:
        """Page through the images."""
        chosen = await self._filter(convert.filters(request.filters), filters.LIST_KEYS)
        every = await self._catalog.views()
        shared = disk_use.shared_bytes(every)
        views = [view for view in every if chosen.passes(view)]
        start = 0
        if request.page_token:
            ids = [str(view.record.image_id) for view in views]
            if request.page_token not in ids:
                raise errors.Invalid(
                    "the page token is of a list that has changed: begin again", reason="PAGE_TOKEN_INVALID"
                )
            start = ids.index(request.page_token)
        end = start + min(request.page_size or PAGE_MAX, PAGE_MAX)
        return image_pb2.ListImagesResponse(
            images=[
                convert.image(view, chosen.matching_tags(view), shared[view.record.image_id])
                for view in views[start:end]
            ],
            next_page_token=str(views[end].record.image_id) if end < len(views) else "",
        )

    async def GetImage(
        self, request: image_pb2.GetImageRequest, context: Context
    ) -> image_pb2.GetImageResponse:
        """Return one image."""
        view = await self._catalog.view(await self._catalog.get(request.reference))
        if (
            request.platform
            and platforms.rank(view.config.platform, platforms.parse(request.platform)) is None
        ):
            raise errors.NotFound(
                f"image {request.reference} is here for {view.config.platform}, not for {request.platform}",
                reason="IMAGE_NOT_FOUND",
            )
        return image_pb2.GetImageResponse(image=convert.image(view))

    async def GetImageHistory(
        self, request: image_pb2.GetImageHistoryRequest, context: Context
    ) -> image_pb2.GetImageHistoryResponse:
        """Return the steps that made an image."""
        view = await self._catalog.view(await self._catalog.get(request.reference))
        return image_pb2.GetImageHistoryResponse(entries=convert.history(view))

    async def TagImage(
        self, request: image_pb2.TagImageRequest, context: Context
    ) -> image_pb2.TagImageResponse:
        """Give an image a name."""
        await self._naming.tag(request.source, request.target)
        return image_pb2.TagImageResponse()

    async def RemoveImage(
        self, request: image_pb2.RemoveImageRequest, context: Context
    ) -> image_pb2.RemoveImageResponse:
        """Remove a name, and with the last one the image."""
        removed = await self._naming.remove(request.reference, force=request.force)
        return image_pb2.RemoveImageResponse(untagged=removed.untagged, deleted=removed.deleted)

    async def PruneImages(
        self, request: image_pb2.PruneImagesRequest, context: Context
    ) -> image_pb2.PruneImagesResponse:
        """Remove unused images."""
        values = convert.filters(request.filters)
        chosen = await self._filter(values, filters.PRUNE_KEYS)
        # Docker's API says `all` as dangling=false; both ways are understood.
        everything = request.all or chosen.dangling is False
        chosen = chosen.without_dangling()
        removed = await self._naming.prune(chosen, all_unused=everything)
        return image_pb2.PruneImagesResponse(
            untagged=removed.untagged, deleted=removed.deleted, reclaimed_bytes=removed.freed_bytes
        )

    async def WatchEvents(
        self, request: image_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[image_pb2.WatchEventsResponse]:
        """Stream what happens to images."""
        selection = Selection(
            since_s=nanoseconds(request.since) / 1e9 if request.HasField("since") else None,
            until_s=nanoseconds(request.until) / 1e9 if request.HasField("until") else None,
            filters=convert.filters(request.filters),
        )
        async with contextlib.aclosing(self._events.watch(selection)) as items:
            async for item in items:
                match item:
                    case Event():
                        yield image_pb2.WatchEventsResponse(event=convert.event(item))
                    case Resync():
                        yield image_pb2.WatchEventsResponse(resync=image_pb2.Resync())
                    case Live():
                        if request.mark_live:
                            yield image_pb2.WatchEventsResponse(live=image_pb2.Live())

    def _platform(self, text: str) -> Platform:
        return platforms.parse(text) if text else self._node_platform

    async def _filter(self, values: Mapping[str, Sequence[str]], keys: Sequence[str]) -> filters.ImageFilter:
        created_at: dict[str, datetime] = {}
        for text in (*values.get("before", ()), *values.get("since", ())):
            created_at[text] = (await self._catalog.get(text)).created_at
        return filters.parse(values, keys, now=self._clock.now(), created_at=created_at)

    async def _named(self, text: str, names: Sequence[Reference]) -> tuple[Reference, ...]:
        """Return the names that a saved image keeps: the one it was asked for by; of a bare repository, its tag."""
        try:
            asked = references.parse(text).with_default_tag()
        except errors.Invalid:
            return ()
        return tuple(name for name in names if name == asked and name.tag)
