"""Encryption of the log and of snapshots: each file has its own key, made from the data key and a salt in the file.

A sealed piece is bound to its file (by the key) and to its place in it (by the nonce), so that pieces
cannot be moved, repeated or exchanged unnoticed. A file is only ever extended by the process that made it:
one place, one piece, so no nonce serves twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.kit.errors import FailedPrecondition

KEY_BYTES: Final = 32
SALT_BYTES: Final = 24
KEY_ID_BYTES: Final = 8
TAG_BYTES: Final = 16


class Damaged(Exception):
    """A sealed piece is not what was sealed."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The data keys of a member: the current one seals and opens, the former ones open what they once sealed."""

    current: bytes
    former: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        for key in (self.current, *self.former):
            if len(key) != KEY_BYTES:
                raise ValueError(f"a data key has {KEY_BYTES} bytes, not {len(key)}")

    def __repr__(self) -> str:
        return f"KeyRing(<{1 + len(self.former)} keys>)"

    def seal(self, salt: bytes, purpose: bytes) -> Sealer:
        """Return the sealer of a new file."""
        return Sealer(_derive(self.current, salt, purpose), _key_id(self.current))

    def open(self, salt: bytes, purpose: bytes, key_id: bytes, name: str) -> Sealer:
        """Return the sealer of a file that was sealed with one of the keys.

        Raises:
            FailedPrecondition: With none of them (reason WRONG_DATA_KEY).
        """
        for key in (self.current, *self.former):
            if _key_id(key) == key_id:
                return Sealer(_derive(key, salt, purpose), key_id)
        raise FailedPrecondition(
            f"{name} is encrypted with a data key that is not among those given; restore the key that belongs to "
            "this state directory",
            reason="WRONG_DATA_KEY",
        )


class Sealer:
    """Seals and opens the pieces of one file."""

    __slots__ = ("_cipher", "key_id")

    def __init__(self, key: bytes, key_id: bytes) -> None:
        self._cipher = AESGCM(key)
        self.key_id = key_id
        """Names the data key, in the file's head."""

    def seal(self, place: int, plain: bytes, context: bytes) -> bytes:
        """Return `plain` sealed for this place of the file; `context` is not kept, but must be the same to open it."""
        return self._cipher.encrypt(place.to_bytes(12, "big"), plain, context)

    def open(self, place: int, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            Damaged: It was not sealed so, for this place, in this context.
        """
        try:
            return self._cipher.decrypt(place.to_bytes(12, "big"), sealed, context)
        except InvalidTag:
            raise Damaged from None


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"beeyard raft " + purpose).derive(key)


def _key_id(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_ID_BYTES, salt=None, info=b"beeyard raft key id").derive(key)
