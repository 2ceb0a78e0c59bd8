"""Images and requests that want to break out, or to break the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from google.protobuf import timestamp_pb2

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
async def test_an_image_whose_kernel_directories_are_links(own_each: Yard, name: str) -> None:
    shutil.rmtree(own_each.imaged.lower / name)
    (own_each.imaged.lower / name).symlink_to("tmp")
    container = await own_each.create("true")
    with pytest.raises(errors.FailedPrecondition, match=f"/{name}"):
        await own_each.start(container)
    await own_each.remove(container)
    assert own_each.remains() == []


async def test_an_image_with_hostile_files(own_each: Yard) -> None:
    canary = own_each.directory / "canary"
    canary.write_text("root:x:0:0::/:\nintruder:x:31337:31337::/:\n")
    lower = own_each.imaged.lower
    (lower / "etc/passwd").unlink()
    (lower / "etc/passwd").symlink_to(canary)
    (lower / "etc/group").unlink()
    os.mkfifo(lower / "etc/group")
    (lower / "jump").symlink_to("/proc/self/fd/7")
    (lower / "out").symlink_to("../../../../../../../../" + str(own_each.directory))
    with pytest.raises(errors.FailedPrecondition, match="intruder"):
        await own_each.start(await own_each.create("true", user="intruder"))
    with pytest.raises(errors.FailedPrecondition, match="jump"):
        await own_each.start(await own_each.create("true", working_dir="/jump"))
    with pytest.raises(errors.FailedPrecondition, match="/out"):
        await own_each.start(await own_each.create("true", working_dir="/out/made"))
    assert not (own_each.directory / "made").exists()


async def test_the_runtime_is_not_overwritten(own_each: Yard) -> None:
    """CVE-2019-5736: an entry point that is the runtime itself, opened for writing from inside."""

    def digests() -> list[str]:
        return [
            hashlib.sha256(Path(path).read_bytes()).hexdigest()
            for path in ("/usr/bin/crun", "/usr/sbin/runc")
        ]

    before = digests()
    script = own_each.imaged.lower / "bin/entry"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    container = await own_each.create("/bin/entry")
    try:
        await own_each.start(container)
        await own_each.until_state(container, pb.CONTAINER_STATE_EXITED)
    except errors.FailedPrecondition:
        pass
    await own_each.run_to_end("sh", "-c", "for p in /proc/[0-9]*; do echo x > $p/exe; done")
    assert digests() == before


async def test_nobody_but_root_reads_what_is_kept(one: Yard) -> None:
    container = await one.create(
        "sleep", "1000", files=[spec_pb2.InlineFile(path="/run/key", data=b"secret")]
    )
    await one.start(container)
    for directory in (one.root / "containerd", one.run / "containerd"):
        assert directory.stat().st_mode & 0o077 == 0
    assert (one.run / "containerd.sock").stat().st_mode & 0o007 == 0
    assert (one.run / "containerd/files").stat().st_mode & 0o077 == 0
    written = [path for path in one.root.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert [path.name for path in written] == []


@pytest.mark.slow
async def test_many_at_once(own: Yard) -> None:
    """More starts than are done at a time, removals between them, one name for all: nothing is left, nobody hangs."""

    async def life(number: int) -> int:
        try:
            container = await own.create(
                "sh", "-c", f"exit {number % 3}", name="contended" if number % 5 == 0 else ""
            )
        except errors.AlreadyExists:
            return -1
        waiting = await own.armed_wait(container)
        await own.start(container)
        code = (await waiting).exit_code
        await own.remove(container)
        return code

    codes = await asyncio.gather(*(life(number) for number in range(40)))
    assert {code for code in codes if code >= 0} == {0, 1, 2}
    assert own.remains() == []
    assert own.state_left() == []
    assert own.process is not None
    assert len(list(Path(f"/proc/{own.process.pid}/fd").iterdir())) < 80


async def test_a_port_that_a_finished_container_still_holds(one: Yard) -> None:
    network = spec_pb2.Network(mode="bridge", ports=[spec_pb2.PortBinding(host_port=81, container_port=80)])

    async def once() -> int:
        request = pb.CreateContainerRequest(
            spec=spec_pb2.ContainerSpec(image="busybox", cmd=["true"], network=network, auto_remove=True)
        )
        created = await one.stub.CreateContainer(request)
        waiting = await one.armed_wait(created.id)
        await one.start(created.id)
        return (await waiting).exit_code

    for _ in range(5):
        assert await once() == 0


async def test_requests_that_nobody_means(one: Yard) -> None:
    """What a client in another language sends by mistake is told by name; none of it is a fault of ours."""
    container = await one.create("sleep", "1000")
    hostile = {
        "a NUL byte": {"network": spec_pb2.Network(mode="none", dns_search=["a\0b"])},
        "4194304 bytes": {"security": spec_pb2.Security(seccomp=" " * (5 << 20))},
    }
    for told, fields in hostile.items():
        with pytest.raises(errors.Invalid, match=told) as caught:
            await client.call(
                one.stub.CreateContainer(
                    pb.CreateContainerRequest(spec=spec_pb2.ContainerSpec(image="busybox", **fields))
                )
            )
        assert caught.value.reason == "SPEC_INVALID"
    limits = spec_pb2.Resources(device_read_bps=[spec_pb2.DeviceLimit(path="/dev/\0", value=1)])
    with pytest.raises(errors.Invalid, match=r"resources\.device_read_bps\.path"):
        await client.call(
            one.stub.UpdateContainer(pb.UpdateContainerRequest(container=container, resources=limits))
        )
    never = pb.AttachResume(mark=timestamp_pb2.Timestamp(seconds=-(2**63), nanos=-1))
    opening = pb.AttachContainerRequest(open=pb.AttachOpen(container=container, stdout=True, resume=never))
    async with contextlib.aclosing(client.stream(one.stub.AttachContainer(iter([opening])))) as answers:
        assert not (await anext(answers)).opened.resumed


async def test_containers_with_much_to_tell_fill_several_pages(one: Yard) -> None:
    made = {await one.create("true", labels={"much": "x" * 1_000_000}) for _ in range(9)}
    pages, token = [], "first"
    while token:
        request = pb.ListContainersRequest(all=True, page_token=token if pages else "")
        page = await client.call(one.stub.ListContainers(request))
        pages.append([entry.id for entry in page.containers])
        token = page.next_page_token
    assert len(pages) == 2
    assert {key for page in pages for key in page} == made
    assert sum(map(len, pages)) == len(made)
    for key in made:
        await one.remove(key)
