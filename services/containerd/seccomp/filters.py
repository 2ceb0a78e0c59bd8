"""The filter of a container: profile chosen, resolved, compiled, and kept."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.ocispec import seccomp
from services.containerd.ocispec.facts import Seccomp
from services.containerd.seccomp.libseccomp import Library
from services.kit import atomic, errors, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.containerd.ocispec.facts import HostFacts, Section

_log = log.get(__name__)

CACHED_MAX = 64
"""Resolved filters kept in memory; containers differ in capabilities only now and then."""


class Filters:
    """Makes filters; blocks for some milliseconds the first time it sees a profile: call it from a worker thread.

    Args:
        profile: Path of the default profile in the containers-common format.
        cache: Directory for compiled programs, made if missing. They are named by content: never stale, and a
            damaged one is recognised and made again.
    """

    def __init__(self, profile: Path, cache: Path, host: HostFacts) -> None:
        self._profile = profile
        self._cache = cache
        self._host = host
        self._library: Library | None = None
        self._made: dict[str, Seccomp] = {}

    def check(self) -> None:
        """Prove that the default profile is there and compiles, so that no container starts unfiltered by surprise.

        Raises:
            errors.FailedPrecondition: It cannot be read.
            errors.BeeyardError: It cannot be used.
        """
        self.default(())

    def default(self, capabilities: Sequence[str]) -> Seccomp:
        """Return the default filter for a container with these capabilities."""
        key = ",".join(capabilities)
        made = self._made.get(key)
        if made is None:
            made = self._make(self._read_default(), capabilities)
            if len(self._made) >= CACHED_MAX:
                self._made.pop(next(iter(self._made)))
            self._made[key] = made
        return made

    def custom(self, text: str, capabilities: Sequence[str]) -> Seccomp:
        """Return the filter of a profile that the user gave.

        Raises:
            errors.Invalid: The profile is malformed.
        """
        return self._make(text.encode(), capabilities)

    def _read_default(self) -> bytes:
        try:
            return self._profile.read_bytes()
        except OSError as exc:
            raise errors.FailedPrecondition(
                f"cannot read the seccomp profile {self._profile}: {exc.strerror}. It belongs to the package"
                " golang-github-containers-common; another one can be set as `seccomp_profile`",
                reason="SECCOMP_PROFILE_MISSING",
            ) from None

    def _make(self, text: bytes, capabilities: Sequence[str]) -> Seccomp:
        section = seccomp.resolve(
            text,
            capabilities=capabilities,
            architecture=self._host.architecture,
            kernel=self._host.kernel,
        )
        return Seccomp(section=section, bpf_base64=base64.b64encode(self._compiled(section)).decode())

    def _compiled(self, section: Section) -> bytes:
        if self._library is None:
            self._library = Library()
        canonical = json.dumps([self._library.version, section], sort_keys=True).encode()
        path = self._cache / f"{hashlib.sha256(canonical).hexdigest()}.bpf"
        cached = atomic.read(path)
        if cached is not None and (program := _unseal(cached)) is not None:
            return program
        program = self._library.compile(section)
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.write(path, _seal(program), fsync=False)
        except OSError as exc:  # a full disk costs time at the next start, not this container
            _log.warning("seccomp_cache_write_failed", path=str(path), error=str(exc))
        return program


def _seal(program: bytes) -> bytes:
    return hashlib.sha256(program).digest() + program


def _unseal(sealed: bytes) -> bytes | None:
    digest, program = sealed[:32], sealed[32:]
    return program if program and hashlib.sha256(program).digest() == digest else None
