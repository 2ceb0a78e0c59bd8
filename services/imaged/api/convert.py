"""Between the model and its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.image.v1 import image_pb2, snapshot_pb2
from services.imaged.layers.changes import ChangeKind
from services.imaged.model import config as configs
from services.imaged.model.config import Healthcheck, RunConfig
from services.imaged.snapshots.ports import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from services.imaged.images.progress import Step
    from services.imaged.images.view import ImageView
    from services.imaged.snapshots.ports import Mount, PathChange, Snapshot
    from services.kit.events import Event

_KINDS = {
    Kind.ACTIVE: snapshot_pb2.SNAPSHOT_KIND_ACTIVE,
    Kind.COMMITTED: snapshot_pb2.SNAPSHOT_KIND_COMMITTED,
    Kind.VIEW: snapshot_pb2.SNAPSHOT_KIND_VIEW,
}
_CHANGE_KINDS = {
    ChangeKind.MODIFIED: snapshot_pb2.CHANGE_KIND_MODIFIED,
    ChangeKind.ADDED: snapshot_pb2.CHANGE_KIND_ADDED,
    ChangeKind.DELETED: snapshot_pb2.CHANGE_KIND_DELETED,
}


def timestamp(instant: datetime | None) -> Timestamp | None:
    """Return the message of an instant."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def progress(step: Step) -> image_pb2.Progress:
    """Return the message of a step of long work."""
    return image_pb2.Progress(
        id=step.id,
        phase=step.phase,
        done_bytes=step.done_bytes,
        total_bytes=step.total_bytes,
        source=step.source,
    )


def filters(message: Mapping[str, image_pb2.StringList]) -> dict[str, Sequence[str]]:
    """Return filter values by key."""
    return {key: tuple(values.values) for key, values in message.items()}


def image(view: ImageView, repo_tags: Sequence[str] | None = None, shared_bytes: int = 0) -> image_pb2.Image:
    """Return the message of an image; `repo_tags` shows only some of its names."""
    return image_pb2.Image(
        id=str(view.record.image_id),
        repo_tags=view.repo_tags if repo_tags is None else repo_tags,
        repo_digests=view.repo_digests,
        manifest_digest=str(view.record.manifest.digest),
        created_at=timestamp(view.config.created_at),
        size_bytes=view.size_bytes,
        content_size_bytes=view.content_size_bytes,
        config=run_config(view.config.run),
        diff_ids=map(str, view.config.diff_ids),
        os=view.config.platform.os,
        architecture=view.config.platform.architecture,
        variant=view.config.platform.variant,
        author=view.config.author,
        comment=view.config.comment,
        container_count=view.users,
        chain_id=view.chain_id,
        tagged_at=timestamp(view.tagged_at),
        shared_size_bytes=shared_bytes,
    )


def run_config(run: RunConfig) -> image_pb2.ImageConfig:
    """Return the message of a run configuration."""
    return image_pb2.ImageConfig(
        user=run.user,
        exposed_ports=run.exposed_ports,
        env=run.env,
        entrypoint=run.entrypoint,
        cmd=run.cmd,
        volumes=run.volumes,
        working_dir=run.working_dir,
        labels=run.labels,
        stop_signal=run.stop_signal,
        healthcheck=_healthcheck(run.healthcheck),
        shell=run.shell,
        on_build=run.on_build,
    )


def run_from_pb(message: image_pb2.ImageConfig) -> RunConfig:
    """Return the run configuration that a message holds."""
    health = message.healthcheck
    return RunConfig(
        user=message.user,
        exposed_ports=tuple(message.exposed_ports),
        env=tuple(message.env),
        entrypoint=tuple(message.entrypoint),
        cmd=tuple(message.cmd),
        volumes=tuple(message.volumes),
        working_dir=message.working_dir,
        labels=dict(message.labels),
        stop_signal=message.stop_signal,
        healthcheck=Healthcheck(
            test=tuple(health.test),
            interval_ms=health.interval_ms,
            timeout_ms=health.timeout_ms,
            start_period_ms=health.start_period_ms,
            start_interval_ms=health.start_interval_ms,
            retries=health.retries,
        )
        if message.HasField("healthcheck")
        else None,
        shell=tuple(message.shell),
        on_build=tuple(message.on_build),
    )


def history(view: ImageView) -> list[image_pb2.HistoryEntry]:
    """Return the steps that made an image, newest first, each with the size of its layer."""
    sizes = iter(view.layer_sizes)
    entries = [
        image_pb2.HistoryEntry(
            created_at=timestamp(configs.parse_time(step.created)),
            created_by=step.created_by,
            size_bytes=0 if step.empty_layer else next(sizes, 0),
            comment=step.comment,
            empty_layer=step.empty_layer,
        )
        for step in view.config.history
    ]
    # A configuration may be silent about layers: they are shown all the same.
    entries += [image_pb2.HistoryEntry(size_bytes=size) for size in sizes]
    entries.reverse()
    if entries:
        entries[0].image_id = str(view.record.image_id)
        entries[0].tags.extend(view.repo_tags)
    return entries


def event(value: Event) -> image_pb2.Event:
    """Return the message of an event."""
    return image_pb2.Event(
        time=timestamp(value.at),
        type=value.type,
        action=value.action,
        id=value.id,
        attributes=dict(value.attributes),
    )


def mounts(values: Iterable[Mount]) -> list[snapshot_pb2.Mount]:
    """Return the messages of mounts."""
    return [
        snapshot_pb2.Mount(
            type=mount.type,
            source=mount.source,
            options=mount.options,
            lower_dirs=mount.lower_dirs,
            upper_dir=mount.upper_dir,
            work_dir=mount.work_dir,
        )
        for mount in values
    ]


def snapshot(value: Snapshot, image_id: str) -> snapshot_pb2.Snapshot:
    """Return the message of a snapshot."""
    return snapshot_pb2.Snapshot(
        key=value.key,
        parent_key=value.parent,
        kind=_KINDS[value.kind],
        image_id=image_id,
        labels=value.labels,
        created_at=timestamp(value.created_at),
    )


def changes(values: Iterable[PathChange]) -> list[snapshot_pb2.PathChange]:
    """Return the messages of changed paths."""
    return [snapshot_pb2.PathChange(kind=_CHANGE_KINDS[change.kind], path=change.path) for change in values]


def _healthcheck(check: Healthcheck | None) -> image_pb2.HealthConfig | None:
    if check is None:
        return None
    return image_pb2.HealthConfig(
        test=check.test,
        interval_ms=check.interval_ms,
        timeout_ms=check.timeout_ms,
        start_period_ms=check.start_period_ms,
        retries=check.retries,
        start_interval_ms=check.start_interval_ms,
    )
