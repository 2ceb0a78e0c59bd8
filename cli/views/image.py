"""Images, as `image ls`, `history` and `image inspect` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.format.values import NO_LIST, NO_MAP, OpenMap, Struct
from cli.views.values import ago, go_time, nanoseconds, rfc3339, shorten
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from beeyard.image.v1 import image_pb2 as pb

NONE = "<none>"
MISSING = "<missing>"
CREATED_BY_WIDTH = 45
DEFAULT = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
WITH_DIGESTS = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
HEADERS: Mapping[str, str] = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
HISTORY = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
HISTORY_HEADERS: Mapping[str, str] = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def split_name(name: str) -> tuple[str, str, str]:
    """Split a reference into repository, tag and digest; what is missing is empty."""
    rest, _, digest = name.partition("@")
    repository, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, "", digest
    return repository, tag, digest


def rows(image: pb.Image, now: datetime, *, digests: bool, full: bool) -> Iterator[dict[str, Any]]:
    """Make the rows of `image ls` for one image: one for each name, and one for an image without."""
    by_repository = {split_name(name)[0]: split_name(name)[2] for name in image.repo_digests}
    named = [split_name(name) for name in image.repo_tags]
    tagged = {repository for repository, _, _ in named}
    names = [(repository, tag, by_repository.get(repository, "")) for repository, tag, _ in named]
    names += [
        (repository, "", digest) for repository, digest in by_repository.items() if repository not in tagged
    ]
    for repository, tag, digest in names or [("", "", "")]:
        yield {
            "ID": image.id if full else image.id.removeprefix("sha256:")[:12],
            "Repository": repository or NONE,
            "Tag": tag or NONE,
            "Digest": (digest if digests else "") or NONE,
            "CreatedSince": ago(image.created_at, now),
            "CreatedAt": go_time(image.created_at),
            "Size": units.render_bytes(image.size_bytes),
            "Containers": str(image.container_count),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
        }


def history_row(entry: pb.HistoryEntry, now: datetime, *, full: bool, human: bool) -> dict[str, Any]:
    """Make a row of `history`."""
    created_by = entry.created_by.replace("\t", " ")
    shown_id = entry.image_id if full else entry.image_id.removeprefix("sha256:")[:12]
    return {
        "ID": shown_id or MISSING,
        "CreatedSince": ago(entry.created_at, now) if human else rfc3339(entry.created_at),
        "CreatedAt": rfc3339(entry.created_at),
        "CreatedBy": shorten(created_by, CREATED_BY_WIDTH, full=full),
        "Size": units.render_bytes(entry.size_bytes) if human else str(entry.size_bytes),
        "Comment": entry.comment,
    }


def inspect(image: pb.Image) -> dict[str, Any]:
    """Show an image as `image inspect` prints it."""
    return {
        "Id": image.id,
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Comment": image.comment,
        "Created": rfc3339(image.created_at),
        "Author": image.author,
        "Config": _config(image.config),
        "Architecture": image.architecture,
        **({"Variant": image.variant} if image.variant else {}),
        "Os": image.os,
        "Size": image.size_bytes,
        "ContentSize": image.content_size_bytes,
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(image.tagged_at)},
        "ManifestDigest": image.manifest_digest,
        "ChainID": image.chain_id,
    }


def _config(config: pb.ImageConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": {port: Struct() for port in config.exposed_ports} or NO_MAP,
        "Env": list(config.env) or NO_LIST,
        "Cmd": list(config.cmd) or NO_LIST,
        "Entrypoint": list(config.entrypoint) or NO_LIST,
        "Volumes": {path: Struct() for path in config.volumes} or NO_MAP,
        "WorkingDir": config.working_dir,
        "Labels": OpenMap(sorted(config.labels.items())) or NO_MAP,
        "StopSignal": config.stop_signal,
        "Shell": list(config.shell) or NO_LIST,
        "OnBuild": list(config.on_build) or NO_LIST,
    }
    if config.HasField("healthcheck"):
        check = config.healthcheck
        shown["Healthcheck"] = {
            "Test": list(check.test),
            "Interval": nanoseconds(check.interval_ms),
            "Timeout": nanoseconds(check.timeout_ms),
            "StartPeriod": nanoseconds(check.start_period_ms),
            "StartInterval": nanoseconds(check.start_interval_ms),
            "Retries": check.retries,
        }
    return shown
