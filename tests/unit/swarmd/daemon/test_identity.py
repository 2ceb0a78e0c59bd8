"""What a node keeps on disk, and what a crash at any line of its writing leaves."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.kit import atomic, errors
from services.swarmd import identity
from services.swarmd.ca import authority, keys
from services.swarmd.identity import Credentials, IdentityStore, ManagerRecord, MemberState

NOW = datetime.now(UTC)
ROOT = authority.new(NOW)
STATE = MemberState(
    cluster_id="c1",
    node_id="n1",
    listen_address="127.0.0.1:2377",
    enroll_address="127.0.0.1:2378",
    advertise_address="10.0.0.1:2377",
    raft_id=7,
    managers=(ManagerRecord(node_id="n1", address="10.0.0.1:2377"),),
)


def _credentials() -> Credentials:
    key = keys.new()
    pem = ROOT.sign_node(key.public_key(), node_id="n1", manager=True, cluster_id="c1", now=NOW)
    return Credentials(trust_pem=ROOT.root_pem, certificate_pem=pem, key_pem=keys.to_pem(key))


class Crash(Exception):
    """The machine stops."""


def _crashing_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the process die before the step of number `steps`: a write, a rename, a sync."""
    left = [steps]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **kwargs: object) -> object:
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return real(*args, **kwargs)

        return step

    monkeypatch.setattr(atomic, "write", counted(atomic.write))
    monkeypatch.setattr(atomic, "fsync_dir", counted(atomic.fsync_dir))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(identity.shutil, "rmtree", counted(identity.shutil.rmtree))


def test_a_membership_is_read_back(tmp_path: Path) -> None:
    store, credentials = IdentityStore(tmp_path), _credentials()
    assert store.load() is None
    store.save_credentials(credentials)
    store.save(STATE)
    again = IdentityStore(tmp_path)
    assert again.load() == STATE
    assert again.load_credentials() == credentials
    assert again.data_key() == store.data_key()
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("steps", range(12))
def test_a_join_that_is_cut_off_is_no_join(tmp_path: Path, steps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _crashing_after(patch, steps)
        try:
            store = IdentityStore(tmp_path)
            store.save_credentials(_credentials())
            store.data_key()
            store.save(STATE)
            done = True
        except Crash:
            done = False
    found = IdentityStore(tmp_path).load()
    if found is None:
        assert not done
        assert list(tmp_path.iterdir()) == []
    else:
        assert found == STATE
        IdentityStore(tmp_path).load_credentials()


@pytest.mark.parametrize("steps", range(12))
def test_a_renewal_that_is_cut_off_leaves_one_of_the_two(tmp_path: Path, steps: int) -> None:
    store, old, new = IdentityStore(tmp_path), _credentials(), _credentials()
    store.save_credentials(old)
    store.save(STATE)
    with pytest.MonkeyPatch.context() as patch:
        _crashing_after(patch, steps)
        with contextlib.suppress(Crash):
            store.save_credentials(new)
    again = IdentityStore(tmp_path)
    assert again.load() == STATE
    assert again.load_credentials() in (old, new)
    assert again.load_credentials() == again.load_credentials()
    assert not (tmp_path / "certificates" / "node.key.next").exists()


@pytest.mark.parametrize("steps", range(8))
def test_leaving_that_is_cut_off_is_finished_at_the_next_start(tmp_path: Path, steps: int) -> None:
    store = IdentityStore(tmp_path)
    store.save_credentials(_credentials())
    store.data_key()
    store.save(STATE)
    store.raft_directory.mkdir()
    (store.raft_directory / "log").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        _crashing_after(patch, steps)
        with contextlib.suppress(Crash):
            store.forget()
    again = IdentityStore(tmp_path)
    if again.load() is None:
        assert list(tmp_path.iterdir()) == []
    else:
        again.load_credentials()
        assert (again.raft_directory / "log").exists()


def test_a_manager_that_becomes_a_worker_keeps_its_membership_only(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.save_credentials(_credentials())
    store.data_key()
    store.save(STATE)
    store.raft_directory.mkdir()
    worker = store.forget_manager(STATE)
    assert worker == dataclasses.replace(STATE, raft_id=0) == IdentityStore(tmp_path).load()
    assert not store.raft_directory.exists()
    assert not (tmp_path / "certificates" / "data.key").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "state.json").write_bytes(b"{"),
        lambda d: (d / "state.json").write_text(json.dumps({"format": 99})),
        lambda d: (d / "state.json").write_text(
            json.dumps({"format": 1, **dataclasses.asdict(STATE), "raft_id": "7"})
        ),
        lambda d: (d / "certificates" / "node.crt").write_bytes(b"x"),
        lambda d: (d / "certificates" / "node.crt").unlink(),
        lambda d: (d / "certificates" / "node.key").write_bytes(keys.to_pem(keys.new())),
        lambda d: (d / "certificates" / "data.key").write_bytes(b"{}"),
        lambda d: (d / "certificates" / "data.key").unlink(),
    ],
)
def test_damage_is_named_with_its_file(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store = IdentityStore(tmp_path)
    store.save_credentials(_credentials())
    store.data_key()
    store.save(STATE)
    store.raft_directory.mkdir()
    (store.raft_directory / "log").write_bytes(b"x")
    damage(tmp_path)
    with pytest.raises(errors.FailedPrecondition, match=str(tmp_path)) as refused:
        store.load()
        store.load_credentials()
        store.data_key()
    assert refused.value.reason == "STATE_CORRUPT"


def test_a_wrapped_key_means_a_locked_swarm(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.data_key()
    (tmp_path / "certificates" / "data.key").write_text(json.dumps({"format": 1, "wrapped": {"nonce": ""}}))
    with pytest.raises(errors.FailedPrecondition) as refused:
        store.data_key()
    assert refused.value.reason == "SWARM_LOCKED"
