"""Records come back as they were, and as well as can be when they were written by another version."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    store = await Store.open(tmp_path / "state.db")
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
    store = await Store.open(path)
    await store.insert(Record(id="a" * 64, name="web", created_at=NOW))
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE containers SET status = '{\"state\": 5}'")
    connection.commit()
    connection.close()
    store = await Store.open(path)
    records, damaged = await store.load()
    await store.close()
    assert records == []
    assert [entry.id for entry in damaged] == ["a" * 64]
