"""What a node keeps on disk about its membership, in an order that is legal at every line.

    state.json               what it is a member of; written last when joining, removed first when leaving: the node is
                             a member exactly as long as this file exists
    certificates/ca.crt      roots to trust
    certificates/node.crt    its certificate
    certificates/node.key    the certificate's key
    certificates/node.key.next   the key of a certificate that is being replaced: the key that fits node.crt counts
    certificates/data.key    key of the manager's log and snapshots
    raft/                    the manager's log and snapshots

Everything here blocks on the disk: it is called in threads, or before the daemon serves.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import shutil
from typing import TYPE_CHECKING, Any, Final

from services.kit import atomic, errors
from services.swarmd.ca import certificates, keys

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

FORMAT: Final = 1
DATA_KEY_BYTES: Final = 32
_STATE: Final = "state.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ManagerRecord:
    """A manager that the node knows: where it asks when it starts."""

    node_id: str
    address: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """What the node is a member of."""

    cluster_id: str
    node_id: str
    listen_address: str
    """host:port of the mTLS listener."""
    enroll_address: str
    """host:port of the enrolment listener."""
    advertise_address: str
    """host:port at which other nodes reach the mTLS listener."""
    raft_id: int = 0
    """The manager's id in raft; 0 while it is no member of raft."""
    managers: tuple[ManagerRecord, ...] = ()
    removed: str = ""
    """Why the swarm does not know this node any more; empty as long as it does."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The node's certificate, its key, and whom it trusts; all PEM."""

    trust_pem: bytes
    certificate_pem: bytes
    key_pem: bytes = dataclasses.field(repr=False)

    @property
    def identity(self) -> certificates.Identity:
        """Whom the certificate names."""
        return certificates.identity_of_pem(self.certificate_pem)

    @property
    def chain_pem(self) -> bytes:
        """What the node presents: its certificate and the root."""
        return self.certificate_pem + self.trust_pem


class IdentityStore:
    """The files under one directory. Only one process uses them: the daemon's lock sees to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._certificates = directory / "certificates"
        self.raft_directory = directory / "raft"
        """Where raft keeps its log; made and removed here, filled by raft."""

    def load(self) -> MemberState | None:
        """Return the membership; None, after cleaning up what a crash left, where there is none.

        Raises:
            errors.FailedPrecondition: STATE_CORRUPT: the file is there and cannot be understood.
        """
        text = atomic.read(self._directory / _STATE)
        if text is None:
            self._remove_rest()
            return None
        atomic.remove_leftovers(self._directory)
        try:
            return _parse_state(json.loads(text))
        except (ValueError, KeyError, TypeError) as exc:
            raise _corrupt(self._directory / _STATE, str(exc)) from exc

    def save(self, state: MemberState) -> None:
        """Make `state` the membership. Of a node that joins: after everything else is on disk."""
        document = {"format": FORMAT, **dataclasses.asdict(state)}
        atomic.write(self._directory / _STATE, json.dumps(document, indent=2).encode() + b"\n")

    def load_credentials(self) -> Credentials:
        """Return the node's credentials, finishing a replacement that a crash interrupted.

        Raises:
            errors.FailedPrecondition: STATE_CORRUPT: a file is missing or unreadable, or no key fits the certificate.
        """
        certificate_pem = self._read("node.crt")
        trust_pem = self._read("ca.crt")
        certificate = _readable(self._certificates / "node.crt", certificate_pem)
        next_path = self._certificates / "node.key.next"
        for name in ("node.key", "node.key.next"):
            key_pem = atomic.read(self._certificates / name)
            if key_pem is None or not _fits(key_pem, certificate):
                continue
            if name == "node.key.next":
                self._rename_next()
            next_path.unlink(missing_ok=True)
            return Credentials(trust_pem=trust_pem, certificate_pem=certificate_pem, key_pem=key_pem)
        raise _corrupt(self._certificates / "node.key", "it does not fit node.crt")

    def save_credentials(self, credentials: Credentials) -> None:
        """Replace the node's credentials: a crash leaves the old ones or the new ones, never a mixture."""
        self._certificates.mkdir(mode=0o700, exist_ok=True)
        atomic.write(self._certificates / "ca.crt", credentials.trust_pem)
        atomic.write(self._certificates / "node.key.next", credentials.key_pem)
        atomic.write(self._certificates / "node.crt", credentials.certificate_pem)
        self._rename_next()
        atomic.fsync_dir(self._directory)

    def data_key(self) -> bytes:
        """Return the key that encrypts raft's files, making one at the first call.

        Raises:
            errors.FailedPrecondition: SWARM_LOCKED: it is wrapped with an unlock key. STATE_CORRUPT.
        """
        path = self._certificates / "data.key"
        text = atomic.read(path)
        if text is None:
            if self.raft_directory.is_dir() and any(self.raft_directory.iterdir()):
                raise _corrupt(path, "it is missing, and raft's files can only be read with it")
            key = secrets.token_bytes(DATA_KEY_BYTES)
            self._certificates.mkdir(mode=0o700, exist_ok=True)
            document = {"format": FORMAT, "key": base64.b64encode(key).decode()}
            atomic.write(path, json.dumps(document).encode() + b"\n")
            return key
        try:
            document = json.loads(text)
            if document["format"] == FORMAT and "wrapped" in document:
                # The form in which autolock keeps it: algorithm, unlock_key_version, nonce and ciphertext.
                raise errors.FailedPrecondition(
                    "the swarm is encrypted and needs to be unlocked before it can be used",
                    reason="SWARM_LOCKED",
                )
            key = base64.b64decode(document["key"], validate=True)
        except (ValueError, KeyError, TypeError) as exc:
            raise _corrupt(path, str(exc)) from exc
        if document["format"] != FORMAT or len(key) != DATA_KEY_BYTES:
            raise _corrupt(path, "it has another format than this release reads")
        return key

    def forget(self) -> None:
        """End the membership, and remove what belonged to it."""
        (self._directory / _STATE).unlink(missing_ok=True)
        atomic.fsync_dir(self._directory)
        self._remove_rest()

    def forget_manager(self, state: MemberState) -> MemberState:
        """Remove what the node had as a manager; return the state of the worker that it is now."""
        worker = dataclasses.replace(state, raft_id=0)
        self.save(worker)
        self.remove_raft()
        return worker

    def remove_raft(self) -> None:
        """Remove raft's files and their key: for a node whose state says that it is no member of raft."""
        shutil.rmtree(self.raft_directory, ignore_errors=True)
        (self._certificates / "data.key").unlink(missing_ok=True)

    def _remove_rest(self) -> None:
        shutil.rmtree(self._certificates, ignore_errors=True)
        shutil.rmtree(self.raft_directory, ignore_errors=True)
        atomic.remove_leftovers(self._directory)

    def _rename_next(self) -> None:
        (self._certificates / "node.key.next").rename(self._certificates / "node.key")
        atomic.fsync_dir(self._certificates)

    def _read(self, name: str) -> bytes:
        data = atomic.read(self._certificates / name)
        if data is None:
            raise _corrupt(self._certificates / name, "it is missing")
        return data


def _parse_state(document: dict[str, Any]) -> MemberState:
    if document.pop("format") != FORMAT:
        raise ValueError("it was written by another release")
    managers = tuple(ManagerRecord(**record) for record in document.pop("managers"))
    state = MemberState(**document, managers=managers)
    for field in dataclasses.fields(MemberState):
        value = getattr(state, field.name)
        expected = {"int": int, "str": str}.get(str(field.type), tuple)
        if type(value) is not expected:
            raise ValueError(f"{field.name} is {value!r}")
    return state


def _readable(path: Path, pem: bytes) -> x509.Certificate:
    try:
        return certificates.load(pem)
    except errors.Invalid as exc:
        raise _corrupt(path, exc.message) from exc


def _fits(key_pem: bytes, certificate: x509.Certificate) -> bool:
    try:
        return keys.same(keys.load(key_pem).public_key(), certificate.public_key())
    except errors.Invalid:
        return False


def _corrupt(path: Path, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"cannot use {path}: {why}. Restore it, or take this node out of its swarm with"
        " `swarmctl swarm leave --force` and join again",
        reason="STATE_CORRUPT",
        metadata={"path": str(path)},
    )
