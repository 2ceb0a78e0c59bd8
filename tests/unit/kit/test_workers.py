"""What is refused before a worker process gets it."""

from __future__ import annotations

import asyncio

import pytest

from services.kit import errors
from services.kit.workers import inside
from services.kit.workers.pool import WorkerPool


def test_a_job_that_fits_no_packet_is_refused() -> None:
    pool = WorkerPool("no.such.module", "worker", workers_max=1, idle_s=1)
    with pytest.raises(errors.Invalid, match="at most"):
        asyncio.run(pool.run(b"x" * (inside.MESSAGE_BYTES_MAX + 1), ()))
