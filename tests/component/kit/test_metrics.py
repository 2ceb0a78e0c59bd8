"""The metrics endpoint over real HTTP."""

import asyncio
import urllib.request
import uuid

import pytest

from services.kit import errors, metrics


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


async def test_what_was_measured_is_served() -> None:
    name = f"test_{uuid.uuid4().hex}"
    counted = metrics.counter(f"{name}_pulls", "Pulls.", ("result",))
    measured = metrics.histogram(f"{name}_seconds", "Durations.")
    level = metrics.gauge(f"{name}_waiting", "Waiting.")
    counted.labels("ok").inc()
    measured.observe(0.3)
    level.set(7)
    async with metrics.serve("127.0.0.1:0") as port:
        text = await asyncio.to_thread(fetch, port)
    assert f'beeyard_{name}_pulls_total{{result="ok"}} 1.0' in text
    assert f'beeyard_{name}_seconds_bucket{{le="0.5"}} 1.0' in text
    assert f"beeyard_{name}_waiting 7.0" in text


async def test_no_address_is_no_endpoint() -> None:
    async with metrics.serve("") as port:
        assert port == 0


@pytest.mark.parametrize("listen", ["localhost", ":", "host:", "host:http", "host:70000"])
async def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(errors.Invalid, match="host:port"):
        async with metrics.serve(listen):
            pass


async def test_an_address_in_use_is_refused_and_free_again_afterwards() -> None:
    async with metrics.serve("127.0.0.1:0") as port:
        with pytest.raises(errors.FailedPrecondition, match="cannot serve metrics"):
            async with metrics.serve(f"127.0.0.1:{port}"):
                pass
    async with metrics.serve(f"127.0.0.1:{port}") as again:
        assert again == port
