"""swarmd as it is run: one process for each node, killed as a power cut would kill it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc.aio

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.kit import errors
from services.kit.rpc import client

REPOSITORY = Path(__file__).parents[4]
WAIT_S = 90
NET = f"127.{(os.getpid() >> 8) & 127 | 64}.{os.getpid() & 255}"


class Process:
    """A node's swarmd."""

    def __init__(self, base: Path, number: int) -> None:
        self.host = f"{NET}.{number}"
        self.hostname = f"node-{number}"
        self.root = base / str(number)
        self.run = self.root / "r"
        self.root.mkdir()
        self.config = self.root / "swarmd.toml"
        self.config.write_text(
            f'root = "{self.root}"\nrun = "{self.run}"\nlisten = "{self.host}:2377"\n'
            f'enroll_listen = "{self.host}:2378"\nhostname = "{self.hostname}"\ngroup = ""\n'
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.channel: grpc.aio.Channel = client.channel_unix(self.run / "swarmd.sock")
        self.cluster = control_pb2_grpc.ClusterServiceStub(self.channel)
        self.nodes = control_pb2_grpc.NodeServiceStub(self.channel)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    async def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.swarmd", "--config", str(self.config)],
                cwd=REPOSITORY,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{REPOSITORY / 'protos'}:{REPOSITORY}",
                    "GRPC_VERBOSITY": "NONE",
                },
                stdout=log,
                stderr=log,
            )
        stub = system_pb2_grpc.SystemServiceStub(self.channel)
        async with asyncio.timeout(WAIT_S):
            while True:
                assert self.alive, self.log
                with contextlib.suppress(errors.Unavailable):
                    await client.call(stub.Ping(system_pb2.PingRequest(), timeout=5))
                    return
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kill it: it can do nothing about it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    async def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, WAIT_S)

    async def close(self) -> None:
        self.kill()
        await self.channel.close()

    async def state(self) -> control_pb2.GetLocalStateResponse:
        return await client.call(
            self.cluster.GetLocalState(control_pb2.GetLocalStateRequest(), timeout=WAIT_S)
        )

    async def list(self) -> dict[str, objects_pb2.Node]:
        response = await client.call(self.nodes.ListNodes(control_pb2.ListNodesRequest(), timeout=WAIT_S))
        return {node.description.hostname: node for node in response.nodes}

    async def label(self, hostname: str, value: str) -> None:
        """Write something into the swarm."""
        while True:
            get = control_pb2.GetNodeRequest(node=hostname)
            node = (await client.call(self.nodes.GetNode(get, timeout=WAIT_S))).node
            node.spec.annotations.labels["test"] = value
            update = control_pb2.UpdateNodeRequest(node=node.id, version=node.meta.version, spec=node.spec)
            with contextlib.suppress(errors.Conflict):
                await client.call(self.nodes.UpdateNode(update, timeout=WAIT_S))
                return


async def found(base: Path, managers: int, workers: int) -> list[Process]:
    """Start processes and make a swarm of them; the first one leads."""
    processes = [Process(base, number + 1) for number in range(managers + workers)]
    await asyncio.gather(*(process.start() for process in processes))
    first = processes[0]
    init = control_pb2.InitSwarmRequest()
    tokens = (await client.call(first.cluster.InitSwarm(init, timeout=WAIT_S))).join_tokens
    for at, process in enumerate(processes[1:], start=1):
        token = tokens.manager if at < managers else tokens.worker
        join = control_pb2.JoinSwarmRequest(remote_addresses=[first.host], token=token)
        await client.call(process.cluster.JoinSwarm(join, timeout=WAIT_S))
    await until_voting(first, managers)
    return processes


async def until_voting(through: Process, count: int) -> None:
    """Return when so many managers are heard by the leader."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(errors.Unavailable):
                nodes = (await through.list()).values()
                if sum(node.manager.reachable for node in nodes) == count:
                    return
            await asyncio.sleep(0.1)


async def until_ready(through: Process, hostname: str) -> None:
    """Return when the swarm has a session with a node."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(errors.Unavailable):
                node = (await through.list()).get(hostname)
                if node is not None and node.status.state == objects_pb2.NODE_STATE_READY:
                    return
            await asyncio.sleep(0.1)


async def leader(processes: list[Process]) -> Process:
    """Return the process that leads, by the word of all that are given."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(errors.Unavailable):
                states = [await process.state() for process in processes]
                leaders = {state.leader_node_id for state in states}
                ids = {state.node_id: process for state, process in zip(states, processes, strict=True)}
                if len(leaders) == 1 and leaders <= set(ids):
                    return ids[leaders.pop()]
            await asyncio.sleep(0.05)
