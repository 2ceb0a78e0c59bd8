"""The metrics endpoint over real HTTP."""

import asyncio
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from services.kit import errors, metrics
from tests.component.kit.echo import Served

ROOT = Path(__file__).parents[3]


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


async def test_what_was_measured_is_served() -> None:
    metrics.collect()
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


async def test_what_a_daemon_has_under_way_is_served(served: Served) -> None:
    async def numbers() -> tuple[float, float]:
        text = await asyncio.to_thread(fetch, port)
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        streams = values.get('beeyard_rpc_in_flight{kind="stream"}', 0)
        return float(values["beeyard_asyncio_tasks"]), float(streams)

    async def until(*expected: float) -> None:
        async with asyncio.timeout(10):
            while await numbers() != expected:
                await asyncio.sleep(0.005)

    async with metrics.serve("127.0.0.1:0") as port:
        tasks, streams = await numbers()
        left = asyncio.ensure_future(asyncio.sleep(3600))
        await until(tasks + 1, streams)
        left.cancel()
        call = served.stub.ServerStream(BytesValue(value=b"a!"))
        await call.read()
        assert (await numbers())[1] == streams + 1
        call.cancel()
        await until(tasks, streams)


def test_nothing_is_counted_or_loaded_until_somebody_wants_it() -> None:
    program = """
import sys
from services.kit import daemon, metrics
early = metrics.counter("early", "Before.")
early.inc()
assert "prometheus_client" not in sys.modules
metrics.collect()
early.inc(2)
late = metrics.counter("late", "After.", ("how",))
late.labels("well").inc()
import prometheus_client
text = prometheus_client.generate_latest().decode()
assert "beeyard_early_total 2.0" in text, text
assert 'beeyard_late_total{how="well"} 1.0' in text, text
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT}/protos"}
    )


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
