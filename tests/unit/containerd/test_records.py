"""Records come back as they were, and as well as can be when they were written by another version."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.containerd.model import inline
from services.containerd.model import spec as specs
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import ContainerSpec, Healthcheck, InlineFile, Mount, MountKind
from services.containerd.model.status import (
    NetworkStatus,
    Phase,
    ProcessRef,
    Record,
    Run,
    State,
    Status,
    Stop,
)
from services.containerd.records import codec
from services.containerd.records.store import Store
from services.kit import errors

NOW = datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC)
FULL = ContainerSpec(
    image="web",
    entrypoint=(),
    command=("a", "b"),
    labels={"k": "v"},
    stop_grace_s=1.5,
    health=Healthcheck(test=("CMD", "x"), interval_s=2.0),
    mounts=(Mount(kind=MountKind.BIND, source="/a", target="/b"),),
    files=(InlineFile(path="/x", data=b"\0\xff"),),
    restart=specs.RestartPolicy(mode=specs.RestartMode.ALWAYS),
)
UP = Status(
    state=State.RUNNING,
    phase=Phase.UP,
    run=Run(
        init=ProcessRef(pid=1, start_ticks=2),
        conmon=ProcessRef(pid=3, start_ticks=4),
        network=NetworkStatus(netns_path="/n"),
    ),
    started_at=NOW,
    stop=Stop(signal="SIGTERM", deadline=NOW),
)


def test_round_trips() -> None:
    for value in (FULL, ContainerSpec(), UP, Status(), ImageConfig(id="sha256:1", health=FULL.health)):
        text = json.dumps(codec.encode(value))
        assert codec.decode(type(value), json.loads(text)) == value
    assert codec.encode(ContainerSpec()) == {}, "defaults are not written"


def test_every_field_of_the_specification_is_decoded_with_its_type() -> None:
    """A field whose type the codec does not know would be found only when somebody uses it."""
    assert all(codec.decode(ContainerSpec, {}) is not None for _ in fields(ContainerSpec))


@given(st.builds(ContainerSpec, image=st.text(), env=st.tuples(st.text()), workdir=st.text()))
def test_any_text_round_trips(spec: ContainerSpec) -> None:
    assert codec.decode(ContainerSpec, json.loads(json.dumps(codec.encode(spec)))) == spec


def test_other_versions() -> None:
    assert codec.decode(Status, {"state": "exited", "phase": "idle", "of_tomorrow": 1}).state is State.EXITED
    for bad in ({"state": "flying"}, {"exit_code": "7"}, {"started_at": "soon"}, {"run": {"init": 3}}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            codec.decode(Status, bad)


async def test_the_store(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "state.db", tmp_path / "files")
    try:
        first = Record(id="a" * 64, name="web", created_at=NOW, spec=FULL, request_id="r")
        await store.insert(first)
        for twice, reason in (
            (replace(first, id="b" * 64, request_id=""), "NAME_IN_USE"),
            (replace(first, id="b" * 64, name="other"), "REQUEST_ID_IN_USE"),
        ):
            with pytest.raises(errors.AlreadyExists) as refused:
                await store.insert(twice)
            assert refused.value.reason == reason
        second = Record(id="c" * 64, name="db", created_at=NOW)
        await store.insert(second)
        with pytest.raises(errors.AlreadyExists):
            await store.write_spec(second.id, "web", second.spec)
        await store.write_status(first.id, UP)
        records, damaged = await store.load()
        assert records == [replace(first, status=UP), second]
        assert damaged == []
        await store.delete(first.id)
        await store.delete(first.id)
        assert (await store.load())[0] == [second]
    finally:
        await store.close()


async def test_a_damaged_row_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await Store.open(path, tmp_path / "files")
    await store.insert(Record(id="a" * 64, name="web", created_at=NOW))
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE containers SET status = '{\"state\": 5}'")
    connection.commit()
    connection.close()
    store = await Store.open(path, tmp_path / "files")
    records, damaged = await store.load()
    await store.close()
    assert records == []
    assert [entry.id for entry in damaged] == ["a" * 64]


SECRET = b"hush-hush-hush"
SECRETIVE = ContainerSpec(
    image="web", files=(InlineFile(path="/k", data=SECRET), InlineFile(path="/empty"), InlineFile(path="/e2"))
)


def _traces(directory: Path) -> list[str]:
    """Return the database's files in which the secret can be read."""
    forms = (SECRET, base64.b64encode(SECRET))
    return [
        path.name for path in directory.glob("state.db*") if any(form in path.read_bytes() for form in forms)
    ]


async def test_the_content_of_files_is_not_in_the_database(tmp_path: Path) -> None:
    contents = tmp_path / "run/files"
    first = Record(id="a" * 64, name="web", created_at=NOW, spec=SECRETIVE)
    store = await Store.open(tmp_path / "state.db", contents)
    await store.insert(first)
    with pytest.raises(errors.AlreadyExists):
        await store.insert(replace(first, id="b" * 64))
    await store.write_spec(first.id, "renamed", replace(SECRETIVE, image="other"))
    assert _traces(tmp_path) == []
    await store.close()
    assert _traces(tmp_path) == []
    (kept,) = contents.iterdir()
    assert (kept.name, kept.stat().st_mode & 0o777) == (first.id, 0o600)
    assert contents.stat().st_mode & 0o777 == 0o700

    (contents / ("c" * 64)).write_bytes(b"[]")  # of a daemon that died before it wrote the record
    store = await Store.open(tmp_path / "state.db", contents)
    (record,), _ = await store.load()
    assert record.spec == replace(SECRETIVE, image="other")
    await store.tidy()
    assert list(contents.iterdir()) == [kept]
    await store.delete(first.id)
    await store.close()
    assert list(contents.iterdir()) == []


@pytest.mark.parametrize("left", [None, b"", b"[]", b"[1, 2, 3]", b'["?", "", ""]'])
async def test_content_that_is_gone_is_known_to_be(tmp_path: Path, left: bytes | None) -> None:
    contents = tmp_path / "files"
    store = await Store.open(tmp_path / "state.db", contents)
    record = Record(id="a" * 64, name="web", created_at=NOW, spec=SECRETIVE)
    await store.insert(record)
    (contents / record.id).unlink()
    if left is not None:
        (contents / record.id).write_bytes(left)
    (found,), damaged = await store.load()
    assert (found.spec.image, damaged) == ("web", [])
    for file in found.spec.files:
        with pytest.raises(errors.FailedPrecondition) as refused:
            inline.content(file)
        assert refused.value.reason == "FILES_GONE"
    await store.write_spec(record.id, "renamed", found.spec)
    (again,), _ = await store.load()
    assert again.spec == found.spec, "an update does not turn what is gone into what is empty"
    await store.delete(record.id)
    await store.close()
    assert list(contents.iterdir()) == []


async def test_a_record_of_an_older_version_is_freed_of_its_content(tmp_path: Path) -> None:
    path, contents = tmp_path / "state.db", tmp_path / "files"
    store = await Store.open(path, contents)
    record = Record(id="a" * 64, name="web", created_at=NOW, spec=SECRETIVE)
    await store.insert(record)
    await store.close()
    (contents / record.id).unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE containers SET spec = ?", (json.dumps(codec.encode(SECRETIVE)),))
    assert _traces(tmp_path) == ["state.db"]
    for _ in range(2):
        store = await Store.open(path, contents)
        assert (await store.load())[0] == [record]
        await store.tidy()
        await store.close()
        assert _traces(tmp_path) == []
