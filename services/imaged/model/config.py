"""The image configuration: what a container of the image runs by default, and how the image came about.

The digest of this document is the image's id. What was received is kept byte for byte in the content store; `render` is
for the configurations that we make ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.imaged.model import digest as digests
from services.imaged.model import document as documents
from services.imaged.model import platform as platforms

_NS_PER_MS = 1_000_000
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """Docker's HEALTHCHECK; zero means the default."""

    test: tuple[str, ...] = ()
    interval_ms: int = 0
    timeout_ms: int = 0
    start_period_ms: int = 0
    start_interval_ms: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a container of the image starts from: the field `config`."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStep:
    """One step that made the image; a step without a layer changed the configuration only."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The whole document."""

    platform: platforms.Platform
    created: str = ""
    """RFC 3339 with any precision, as written; `created_at` reads it."""
    author: str = ""
    comment: str = ""
    run: RunConfig = field(default_factory=RunConfig)
    diff_ids: tuple[digests.Digest, ...] = ()
    """Digests of the uncompressed layers, base first."""
    history: tuple[HistoryStep, ...] = ()

    @property
    def created_at(self) -> datetime | None:
        """When the image was made by its own account; None if it does not say, or not in a way that can be read."""
        return parse_time(self.created)

    def render(self) -> bytes:
        """Return the JSON form; equal configurations have equal bytes."""
        platform = self.platform
        fields: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
        optional: dict[str, object] = {
            "variant": platform.variant,
            "created": self.created,
            "author": self.author,
            "comment": self.comment,
        }
        fields |= {key: value for key, value in optional.items() if value}
        fields["config"] = _run_fields(self.run)
        fields["rootfs"] = {"type": "layers", "diff_ids": [str(digest) for digest in self.diff_ids]}
        fields["history"] = [_step_fields(step) for step in self.history]
        return documents.render(fields)


def parse(data: bytes) -> ImageConfig:
    """Return the image configuration in `data`.

    Raises:
        errors.Invalid: Malformed.
    """
    document = documents.parse(data, "image configuration")
    rootfs = document.child("rootfs")
    return ImageConfig(
        platform=platforms.normalise(
            document.text("os") or "linux", document.text("architecture"), document.text("variant")
        ),
        created=document.text("created"),
        author=document.text("author"),
        comment=document.text("comment"),
        run=_parse_run(document.child("config")),
        diff_ids=tuple(digests.parse(text) for text in rootfs.texts("diff_ids")),
        history=tuple(_parse_step(step) for step in document.children("history")),
    )


def parse_time(text: str) -> datetime | None:
    """Return the instant that an RFC 3339 text names, cut to microseconds, or None."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    micros = (fraction or ".")[1:7].ljust(6, "0")
    offset = "+00:00" if zone in "Zz" else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{micros}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def render_time(instant: datetime) -> str:
    """Return an instant as Docker writes it."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parse_run(document: documents.Document) -> RunConfig:
    return RunConfig(
        user=document.text("User"),
        exposed_ports=document.keys("ExposedPorts"),
        env=document.texts("Env"),
        entrypoint=document.texts("Entrypoint"),
        cmd=document.texts("Cmd"),
        volumes=document.keys("Volumes"),
        working_dir=document.text("WorkingDir"),
        labels=document.text_map("Labels"),
        stop_signal=document.text("StopSignal"),
        healthcheck=_parse_healthcheck(document.child("Healthcheck"))
        if document.has("Healthcheck")
        else None,
        shell=document.texts("Shell"),
        on_build=document.texts("OnBuild"),
    )


def _parse_healthcheck(document: documents.Document) -> Healthcheck:
    def milliseconds(key: str) -> int:
        nanoseconds = document.integer(key)
        if nanoseconds < 0:
            raise document.invalid(key, "is negative")
        return -(-nanoseconds // _NS_PER_MS)  # never round a short interval down to the default

    retries = document.integer("Retries")
    if not 0 <= retries < 1 << 31:
        raise document.invalid("Retries", "is out of range")
    return Healthcheck(
        test=document.texts("Test"),
        interval_ms=milliseconds("Interval"),
        timeout_ms=milliseconds("Timeout"),
        start_period_ms=milliseconds("StartPeriod"),
        start_interval_ms=milliseconds("StartInterval"),
        retries=retries,
    )


def _parse_step(document: documents.Document) -> HistoryStep:
    return HistoryStep(
        created=document.text("created"),
        created_by=document.text("created_by"),
        author=document.text("author"),
        comment=document.text("comment"),
        empty_layer=document.boolean("empty_layer"),
    )


def _run_fields(run: RunConfig) -> dict[str, object]:
    fields: dict[str, object] = {
        "User": run.user,
        "ExposedPorts": {port: {} for port in run.exposed_ports},
        "Env": list(run.env),
        "Entrypoint": list(run.entrypoint),
        "Cmd": list(run.cmd),
        "Volumes": {path: {} for path in run.volumes},
        "WorkingDir": run.working_dir,
        "Labels": dict(sorted(run.labels.items())),
        "StopSignal": run.stop_signal,
        "Healthcheck": _healthcheck_fields(run.healthcheck) if run.healthcheck else None,
        "Shell": list(run.shell),
        "OnBuild": list(run.on_build),
    }
    return {key: value for key, value in fields.items() if value}


def _healthcheck_fields(check: Healthcheck) -> dict[str, object]:
    fields: dict[str, object] = {
        "Test": list(check.test),
        "Interval": check.interval_ms * _NS_PER_MS,
        "Timeout": check.timeout_ms * _NS_PER_MS,
        "StartPeriod": check.start_period_ms * _NS_PER_MS,
        "StartInterval": check.start_interval_ms * _NS_PER_MS,
        "Retries": check.retries,
    }
    return {key: value for key, value in fields.items() if value}


def _step_fields(step: HistoryStep) -> dict[str, object]:
    fields: dict[str, object] = {
        "created": step.created,
        "created_by": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "empty_layer": step.empty_layer,
    }
    return {key: value for key, value in fields.items() if value}
