"""Join tokens: which swarm, and the secret that lets a machine in. Pure.

    SWMTKN-1-<digest of the root certificate, 50 digits>-<secret, 25 digits>

The first half proves the swarm to the machine: it trusts only a root with this digest, so it may ask the way of
anybody. The second half proves the machine to the swarm. Workers and managers have a secret each; the secret, not the
token, says which.
"""

from __future__ import annotations

import dataclasses
import hmac
import secrets
from typing import Final

from services.kit import errors
from services.swarmd.ca import base36

PREFIX: Final = "SWMTKN"
VERSION: Final = "1"
DIGEST_BYTES: Final = 32
DIGEST_DIGITS: Final = 50
SECRET_BYTES: Final = 16
SECRET_DIGITS: Final = 25
TOKEN_CHARS_MAX: Final = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A token in its parts."""

    root_digest: bytes
    """sha256 of the root certificate (DER)."""
    secret: bytes = dataclasses.field(repr=False)

    def __str__(self) -> str:
        digest = base36.render(self.root_digest, DIGEST_DIGITS)
        return f"{PREFIX}-{VERSION}-{digest}-{base36.render(self.secret, SECRET_DIGITS)}"


def new(root_digest: bytes) -> JoinToken:
    """Return a token with a secret that was never used before."""
    return JoinToken(root_digest=root_digest, secret=secrets.token_bytes(SECRET_BYTES))


def parse(text: str) -> JoinToken:
    """Return the parts of a token.

    Raises:
        errors.Invalid: TOKEN_INVALID: it is not a token. The message never repeats the text, which may be a secret.
    """
    text = text.strip()
    if len(text) > TOKEN_CHARS_MAX:
        raise _malformed(f"it is longer than {TOKEN_CHARS_MAX} characters")
    parts = text.split("-")
    if parts[0] != PREFIX:
        raise _malformed(f"it does not begin with {PREFIX}-")
    if len(parts) != 4:
        raise _malformed(f"it has {len(parts)} parts instead of 4; was it copied whole?")
    _prefix, version, digest, secret = parts
    if version != VERSION:
        raise _malformed(f"its version {version[:8]!r} is not one that this release knows")
    for part, digits in ((digest, DIGEST_DIGITS), (secret, SECRET_DIGITS)):
        if len(part) != digits:
            raise _malformed(f"a part has {len(part)} characters instead of {digits}; was it copied whole?")
    try:
        return JoinToken(
            root_digest=base36.parse(digest, DIGEST_BYTES), secret=base36.parse(secret, SECRET_BYTES)
        )
    except errors.Invalid as exc:
        raise _malformed("it has characters or a value that no token has") from exc


def check_swarm(token: JoinToken, root_digest: bytes, where: str) -> None:
    """Return if the token is one of the swarm whose root has this digest.

    Raises:
        errors.PermissionDenied: TOKEN_OTHER_SWARM.
    """
    if token.root_digest != root_digest:
        raise errors.PermissionDenied(
            f"the join token is for another swarm than the one at {where}: the root certificate there has the digest"
            f" {base36.render(root_digest, DIGEST_DIGITS)[:12]}…, the token names"
            f" {base36.render(token.root_digest, DIGEST_DIGITS)[:12]}…; check the address, or ask a manager of the"
            " right swarm for its token (swarmctl swarm join-token)",
            reason="TOKEN_OTHER_SWARM",
        )


def same(token: JoinToken, other: JoinToken) -> bool:
    """Compare two tokens in a time that does not depend on where they differ."""
    digests_equal = hmac.compare_digest(token.root_digest, other.root_digest)
    return hmac.compare_digest(token.secret, other.secret) and digests_equal


def _malformed(why: str) -> errors.Invalid:
    return errors.Invalid(f"this is not a join token: {why}", reason="TOKEN_INVALID")
