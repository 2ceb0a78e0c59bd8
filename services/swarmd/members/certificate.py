"""Keeps the node's certificate: renews it in good time, and at once when its role has changed."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc
from services.kit import backoff, errors, log
from services.kit.rpc import errors as rpc_errors
from services.swarmd.ca import certificates, keys, renewal
from services.swarmd.identity import Credentials
from services.swarmd.members import calls, enrol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.kit.seams import Clock, Rng
    from services.swarmd.gateway.ports import ManagerDialer
    from services.swarmd.gateway.tls import NodeTls
    from services.swarmd.identity import IdentityStore

_log = log.get(__name__)

RENEW_TIMEOUT_S: Final = 5.0
RETRY_BASE_S: Final = 0.5
RETRY_ROLE_MAX_S: Final = 2.0
"""The pace while the role is another one than the certificate's: somebody waits."""
RETRY_DUE_MAX_S: Final = 3600.0
SLEEP_MAX_S: Final = 60.0
"""The wall clock may be set: how long is left is computed anew this often."""
EXPIRY_MARGIN: Final = timedelta(minutes=10)


class CertificateKeeper:
    """Runs as long as the node is a member. `run` returns only if the swarm does not know the node any more.

    Args:
        tls: The certificate in use.
        identity: Where it is kept.
        managers: Who renews it.
        self_issue: Signs with the swarm's key, for a manager whose certificate has expired: it holds the key in its own
            copy of the store, and nobody would talk to it. None where that cannot be done.
        replaced: Told after each replacement.
        removed: Told what the leader says if it does not know the node.
        clock: The time.
        rng: The moment of renewal.
    """

    def __init__(
        self,
        *,
        tls: NodeTls,
        identity: IdentityStore,
        managers: ManagerDialer,
        self_issue: Callable[[bytes], bytes | None],
        replaced: Callable[[], None],
        removed: Callable[[str], None],
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._tls = tls
        self._identity = identity
        self._managers = managers
        self._self_issue = self_issue
        self._replaced = replaced
        self._removed = removed
        self._clock = clock
        self._rng = rng
        self._wanted: bool | None = None
        self._wake = asyncio.Event()

    def want_role(self, *, manager: bool) -> None:
        """Take the role that the swarm grants this node."""
        self._wanted = manager
        if self._wrong_role():
            self._wake.set()

    async def run(self) -> None:
        """Renew, wait, renew."""
        due = self._due()
        failures = 0
        while True:
            self._wake.clear()
            if not self._wrong_role() and self._clock.now() < due:
                await self._sleep((due - self._clock.now()).total_seconds())
                continue
            try:
                await self._renew()
            except (errors.BeeyardError, OSError) as failure:
                exc = rpc_errors.to_error(failure) or errors.Internal(f"cannot keep it: {failure}")
                if exc.reason == "NODE_REMOVED":
                    self._removed(exc.message)
                    return
                self._report(exc)
                longest = RETRY_ROLE_MAX_S if self._wrong_role() else RETRY_DUE_MAX_S
                await self._sleep(backoff.delay(failures, base_s=RETRY_BASE_S, max_s=longest, rng=self._rng))
                failures += 1
                continue
            failures = 0
            due = self._due()
            if self._wrong_role():  # the leader has not got that far
                await self._clock.sleep(RETRY_BASE_S)

    def _wrong_role(self) -> bool:
        return self._wanted is not None and self._wanted != self._tls.is_manager

    def _due(self) -> datetime:
        present = self._tls.identity
        return renewal.due(present.not_before, present.not_after, self._rng)

    async def _renew(self) -> None:
        key = keys.new()
        csr = keys.request(key)
        present = self._tls.credentials
        certificate_pem = self._issued_by_self(csr)
        trust_pem = present.trust_pem
        if certificate_pem is None:
            request = enrolment_pb2.RenewNodeCertificateRequest(csr_pem=csr)
            response = await calls.call_leader(
                self._managers,
                lambda channel: enrolment_pb2_grpc.EnrolmentServiceStub(channel).RenewNodeCertificate(
                    request, timeout=RENEW_TIMEOUT_S
                ),
                clock=self._clock,
                rng=self._rng,
            )
            certificate_pem, trust_pem = response.certificate_pem, response.trust_pem
        renewed = Credentials(trust_pem=trust_pem, certificate_pem=certificate_pem, key_pem=keys.to_pem(key))
        identity = present.identity
        enrol.check(renewed, certificates.load(trust_pem), identity.name, identity.cluster_id)
        await asyncio.to_thread(self._identity.save_credentials, renewed)
        self._tls.replace(renewed)
        _log.info(
            "certificate_replaced", role=renewed.identity.holder.value, expires=renewed.identity.not_after
        )
        self._replaced()

    def _issued_by_self(self, csr: bytes) -> bytes | None:
        present = self._tls.identity
        if not renewal.expired(present.not_after, self._clock.now(), margin=EXPIRY_MARGIN):
            return None
        return self._self_issue(csr)

    def _report(self, exc: errors.BeeyardError) -> None:
        present = self._tls.identity
        endangered = renewal.endangered(present.not_before, present.not_after, self._clock.now())
        write = _log.warning if endangered else _log.info
        write("certificate_not_renewed", reason=exc.reason, error=exc.message, expires=present.not_after)

    async def _sleep(self, seconds: float) -> None:
        """Return after a while, or when the role has changed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, SLEEP_MAX_S)):
                await self._wake.wait()
