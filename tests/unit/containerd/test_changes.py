"""Changes of a container: which are refused, what is left of published ports, and work that outlives its caller."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.containerd import owned
from services.containerd.cgroups.control import Control
from services.containerd.cgroups.hierarchy import Hierarchies
from services.containerd.model import ports
from services.containerd.model.spec import PortBinding, Resources
from services.containerd.ocispec import resources
from services.containerd.ocispec.facts import HostFacts
from services.containerd.update import merged
from services.kit import errors
from services.kit.tasks import Supervisor

if TYPE_CHECKING:
    from pathlib import Path

RANGE = PortBinding(container_port=90, container_port_end=95, host_port=18090, host_port_end=18095)
PUBLISHED = (
    PortBinding(container_port=80, host_port=18080),
    PortBinding(container_port=80, host_port=18081),
    RANGE,
    PortBinding(container_port=85, host_port=18500, host_ip="127.0.0.1"),
    PortBinding(container_port=70),
)


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (PUBLISHED[0], PUBLISHED[1:]),
        (PUBLISHED[3], (*PUBLISHED[:3], PUBLISHED[4])),
        (PortBinding(container_port=70, protocol="tcp"), PUBLISHED[:4]),
        (RANGE, (*PUBLISHED[:2], *PUBLISHED[3:])),
        (
            PortBinding(container_port=91, host_port=18091),
            (
                *PUBLISHED[:2],
                PortBinding(container_port=90, host_port=18090),
                PortBinding(container_port=92, container_port_end=95, host_port=18092, host_port_end=18095),
                *PUBLISHED[3:],
            ),
        ),
        (
            PortBinding(container_port=94, container_port_end=95, host_port=18094, host_port_end=18095),
            (
                *PUBLISHED[:2],
                PortBinding(container_port=90, container_port_end=93, host_port=18090, host_port_end=18093),
                *PUBLISHED[3:],
            ),
        ),
    ],
)
def test_a_publication_is_taken_away_as_it_was_given(
    gone: PortBinding, left: tuple[PortBinding, ...]
) -> None:
    assert ports.without(PUBLISHED, gone) == left


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (PortBinding(container_port=85), "85/tcp"),
        (PortBinding(container_port=80), "80/tcp"),
        (PortBinding(container_port=80, host_port=18080, protocol="udp"), "18080:80/udp"),
        (PortBinding(container_port=91, host_port=18090), "18090:91/tcp"),
        (PortBinding(container_port=90), "90/tcp"),
        (PortBinding(container_port=85, host_port=18500), "18500:85/tcp"),
        (PortBinding(container_port=70, host_ip="::1", host_port=1), "[::1]:1:70/tcp"),
    ],
)
def test_a_port_that_is_not_published_is_named(gone: PortBinding, named: str) -> None:
    with pytest.raises(errors.NotFound, match=named.replace("[", r"\[")):
        ports.without(PUBLISHED, gone)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (Resources(), Resources(nano_cpus=10**9, cpu_quota_us=50_000), "cannot both be set"),
        (Resources(nano_cpus=10**9), Resources(cpu_quota_us=50_000), "NanoCPUs has already been set"),
        (Resources(nano_cpus=10**9), Resources(cpu_period_us=50_000), "NanoCPUs has already been set"),
        (Resources(cpu_quota_us=50_000), Resources(nano_cpus=10**9), "CPU Quota has already been set"),
    ],
)
def test_processors_are_limited_in_one_way(old: Resources, new: Resources, words: str) -> None:
    with pytest.raises(errors.Invalid, match=words):
        merged(old, new)


def test_a_limit_of_processors_is_lifted(tmp_path: Path) -> None:
    for old in (Resources(nano_cpus=10**9), Resources(cpu_quota_us=50_000)):
        lifted = merged(old, Resources(cpu_quota_us=-1))
        assert lifted == Resources(cpu_quota_us=-1)
        resources.check(lifted, HostFacts())
        assert "cpu" not in resources.section(lifted, HostFacts(), {})[0]
        assert merged(lifted, Resources(nano_cpus=5)) == Resources(nano_cpus=5)
    for hierarchies, file, content in (
        (Hierarchies(v1={"cpu": tmp_path}), "cpu.cfs_quota_us", "-1"),
        (Hierarchies(unified=tmp_path), "cpu.max", "max"),
    ):
        Control(hierarchies).lift_cpu_quota("/")
        assert (tmp_path / file).read_text() == content


def test_processors_that_are_not_there() -> None:
    host = HostFacts(cpus_online="0-1", memory_nodes_online="0")
    resources.check(Resources(cpuset_cpus="0-1", cpuset_mems="0"), host)
    for asked in (Resources(cpuset_cpus="0-99"), Resources(cpuset_mems="1")):
        with pytest.raises(errors.Invalid, match="not available - requested"):
            resources.check(asked, host)


async def test_work_goes_on_without_its_caller() -> None:
    done = asyncio.Event()
    proceed = asyncio.Event()

    async def work() -> int:
        await proceed.wait()
        done.set()
        return 7

    async with Supervisor() as supervisor, asyncio.timeout(10):
        caller = supervisor.spawn(owned.to_its_end(supervisor, work(), "work"), "caller", critical=False)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        proceed.set()
        await done.wait()
        assert await owned.to_its_end(supervisor, work(), "work") == 7

        async def failing() -> None:
            raise errors.Invalid("no")

        with pytest.raises(errors.Invalid):
            await owned.to_its_end(supervisor, failing(), "work")
