"""A runtime that hangs for some containers, and the others, whose starts and execs go on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from beeyard.container.v1 import container_pb2 as pb
from services.containerd import execs
from services.containerd.lifecycle import bring_up
from tests.component.containerd.execution import execute
from tests.component.containerd.yard import Yard, yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

HANGS = "HANGS=1"
"""In the environment: the runtime hangs at the creation, or at the exec."""
GO, HANGING = "go", "hanging"
RUNTIME = """#!/bin/sh
for word in "$@"; do case $word in
    create) described=config.json ;;
    exec) described=process.json ;;
    /*) for file in "$word" "$word/$described"; do
        if [ -f "$file" ] && grep -q {hangs} "$file"; then
            echo >> {directory}/{hanging}
            while [ ! -e {directory}/{go} ]; do sleep 0.05; done
        fi
    done ;;
esac; done
exec {runtime} "$@"
"""


@pytest_asyncio.fixture(loop_scope="module")
async def hanging(socket_dir: Path) -> AsyncIterator[Yard]:
    """A yard whose runtime hangs until the test lets it go on."""
    path = shutil.which("crun") or shutil.which("runc")
    if path is None:
        pytest.skip("no runtime is installed")
    runtime = socket_dir / Path(path).name
    runtime.write_text(
        RUNTIME.format(hangs=HANGS, directory=socket_dir, go=GO, hanging=HANGING, runtime=path)
    )
    runtime.chmod(0o755)
    async with yard(socket_dir, runtime=str(runtime)) as made:
        try:
            yield made
        finally:
            (socket_dir / GO).touch()
        await made.clear()


async def until_hanging(made: Yard, count: int) -> None:
    """Wait until so many calls of the runtime hang."""
    path = made.directory / HANGING
    async with asyncio.timeout(30):
        while not path.exists() or path.read_text().count("\n") < count:
            await asyncio.sleep(0.02)


async def test_the_others_go_on(hanging: Yard) -> None:
    async with asyncio.timeout(50):  # less than what hangs is given
        stuck = [await hanging.create("sleep", "1000", env=[HANGS]) for _ in range(bring_up.STARTS_MAX)]
        starting = [asyncio.ensure_future(hanging.start(container)) for container in stuck]
        await until_hanging(hanging, len(stuck))
        containers = [await hanging.create("sleep", "1000") for _ in range(2)]
        for container in containers:
            await hanging.start(container)
        assert not any(start.done() for start in starting)

        executing = [
            asyncio.ensure_future(execute(hanging, containers[0], "true", env=[HANGS]))
            for _ in range(execs.STARTS_OF_ONE_MAX + 1)
        ]
        await until_hanging(hanging, len(stuck) + execs.STARTS_OF_ONE_MAX)
        output, _ = await execute(hanging, containers[1], "echo", "here")
        assert output == b"here\n"
        assert not any(call.done() for call in executing)

        (hanging.directory / GO).touch()
        await asyncio.gather(*starting)
        assert all(last.exit.exit_code == 0 for _, last in await asyncio.gather(*executing))
        states = [(await hanging.get(container)).status.state for container in stuck]
        assert states == [pb.CONTAINER_STATE_RUNNING] * len(stuck)
