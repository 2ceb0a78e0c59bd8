"""imaged and netd as small servers on real sockets: real overlay directories and network namespaces, little else.

Below the socket everything is real; what is missing is images beside one, and networks beside none and host.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from beeyard.image.v1 import image_pb2, image_pb2_grpc, snapshot_pb2, snapshot_pb2_grpc
from beeyard.network.v1 import sandbox_pb2, sandbox_pb2_grpc
from services.containerd.kernel import syscalls
from services.kit import errors, namespaces
from services.kit.rpc.server import RpcServer

IMAGE = "busybox"
IMAGE_ID = "sha256:" + "b" * 64
_CLONE_NEWNET = 0x4000_0000
_APPLETS = (
    "sh", "true", "false", "sleep", "cat", "echo", "ls", "id", "env", "pwd", "mkdir", "touch", "rm", "dd",
    "head", "tail", "wc", "grep", "kill", "stty", "mount", "umount", "hostname", "seq", "yes", "test", "[",
    "ps", "printf", "trap", "stat", "unshare", "dmesg", "mknod", "chown", "chmod", "date", "sha256sum",
    "nc", "od",
)  # fmt: skip


def make_rootfs(root: Path) -> None:
    """Fill a directory with a small root file system."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/alice", "usr/local/bin"):
        (root / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")
    not_executable = root / "usr/local/bin/plain"
    not_executable.write_text("no program\n")
    not_executable.chmod(0o644)


class FakeImaged(image_pb2_grpc.ImageServiceServicer, snapshot_pb2_grpc.SnapshotServiceServicer):
    """One image, and writable layers above it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lower = directory / "lower"
        make_rootfs(self.lower)
        self.commits: list[snapshot_pb2.CommitImageRequest] = []
        self.views: set[str] = set()
        self.commit_gate = asyncio.Event()
        self.commit_gate.set()
        self.config = image_pb2.ImageConfig(cmd=["sh"], env=["FROM_IMAGE=1"])

    def layer(self, key: str) -> Path:
        """Return the directory of a writable layer."""
        return self.directory / "layers" / key

    def layer_keys(self) -> set[str]:
        """Return the writable layers that exist."""
        layers = self.directory / "layers"
        return {entry.name for entry in layers.iterdir()} if layers.exists() else set()

    async def GetImage(self, request: image_pb2.GetImageRequest, context: Any) -> image_pb2.GetImageResponse:
        if request.reference not in (IMAGE, IMAGE_ID):
            raise errors.NotFound(f"no such image: {request.reference}", reason="IMAGE_NOT_FOUND")
        image = image_pb2.Image(id=IMAGE_ID, repo_tags=[f"{IMAGE}:latest"], config=self.config)
        return image_pb2.GetImageResponse(image=image)

    async def PrepareSnapshot(
        self, request: snapshot_pb2.PrepareSnapshotRequest, context: Any
    ) -> snapshot_pb2.PrepareSnapshotResponse:
        if request.read_only:
            if request.image not in (IMAGE, IMAGE_ID):
                raise errors.NotFound(f"no such image: {request.image}", reason="IMAGE_NOT_FOUND")
            self.views.add(request.key)
            return snapshot_pb2.PrepareSnapshotResponse(mounts=[self._mount(request.key)], image_id=IMAGE_ID)
        for name in ("upper", "work"):
            (self.layer(request.key) / name).mkdir(parents=True, exist_ok=True)
        return snapshot_pb2.PrepareSnapshotResponse(mounts=[self._mount(request.key)], image_id=IMAGE_ID)

    async def GetMounts(
        self, request: snapshot_pb2.GetMountsRequest, context: Any
    ) -> snapshot_pb2.GetMountsResponse:
        if request.key not in self.layer_keys() | self.views:
            raise errors.NotFound("no such snapshot", reason="SNAPSHOT_NOT_FOUND")
        return snapshot_pb2.GetMountsResponse(mounts=[self._mount(request.key)])

    async def RemoveSnapshot(
        self, request: snapshot_pb2.RemoveSnapshotRequest, context: Any
    ) -> snapshot_pb2.RemoveSnapshotResponse:
        self.views.discard(request.key)
        shutil.rmtree(self.layer(request.key), ignore_errors=True)
        return snapshot_pb2.RemoveSnapshotResponse()

    async def ListSnapshots(
        self, request: snapshot_pb2.ListSnapshotsRequest, context: Any
    ) -> snapshot_pb2.ListSnapshotsResponse:
        snapshots = [
            snapshot_pb2.Snapshot(key=key, labels={"beeyard.container": key})
            for key in sorted(self.layer_keys())
        ]
        return snapshot_pb2.ListSnapshotsResponse(snapshots=snapshots)

    async def DiffSnapshot(
        self, request: snapshot_pb2.DiffSnapshotRequest, context: Any
    ) -> AsyncIterator[snapshot_pb2.DiffSnapshotResponse]:
        upper = self.layer(request.key) / "upper"
        changes = [
            snapshot_pb2.PathChange(kind=snapshot_pb2.CHANGE_KIND_ADDED, path=f"/{path.relative_to(upper)}")
            for path in sorted(upper.rglob("*"))
        ]
        yield snapshot_pb2.DiffSnapshotResponse(changes=changes)

    async def CommitImage(
        self, request: snapshot_pb2.CommitImageRequest, context: Any
    ) -> snapshot_pb2.CommitImageResponse:
        self.commits.append(request)
        await self.commit_gate.wait()
        return snapshot_pb2.CommitImageResponse(image_id=IMAGE_ID)

    async def GetUsage(
        self, request: snapshot_pb2.GetUsageRequest, context: Any
    ) -> snapshot_pb2.GetUsageResponse:
        return snapshot_pb2.GetUsageResponse(size_bytes=4096, inode_count=1)

    def _mount(self, key: str) -> snapshot_pb2.Mount:
        if key in self.views:
            return snapshot_pb2.Mount(type="bind", source=str(self.lower), options=["rbind", "ro"])
        layer = self.layer(key)
        return snapshot_pb2.Mount(
            type="overlay",
            lower_dirs=[str(self.lower)],
            upper_dir=str(layer / "upper"),
            work_dir=str(layer / "work"),
        )


class FakeNetd(sandbox_pb2_grpc.SandboxServiceServicer):
    """Empty network namespaces and generated files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir()
        self.sandboxes: dict[str, sandbox_pb2.Sandbox] = {}
        self.ports_taken: dict[int, str] = {}
        self.failure: errors.BeeyardError | None = None

    async def CreateSandbox(
        self, request: sandbox_pb2.CreateSandboxRequest, context: Any
    ) -> sandbox_pb2.CreateSandboxResponse:
        if self.failure is not None:
            raise self.failure
        key, spec = request.sandbox_id, request.spec
        for port in spec.ports:
            if self.ports_taken.setdefault(port.host_port, key) != key:
                raise errors.AlreadyExists(f"port {port.host_port} is in use", reason="PORT_IN_USE")
        if key not in self.sandboxes:
            self.sandboxes[key] = self._make(key, spec)
        return sandbox_pb2.CreateSandboxResponse(sandbox=self.sandboxes[key])

    async def RemoveSandbox(
        self, request: sandbox_pb2.RemoveSandboxRequest, context: Any
    ) -> sandbox_pb2.RemoveSandboxResponse:
        self.drop(request.sandbox_id)
        return sandbox_pb2.RemoveSandboxResponse()

    async def UpdatePorts(
        self, request: sandbox_pb2.UpdatePortsRequest, context: Any
    ) -> sandbox_pb2.UpdatePortsResponse:
        if self.failure is not None:
            raise self.failure
        del self.sandboxes[request.sandbox_id].ports[:]
        self.sandboxes[request.sandbox_id].ports.extend(request.ports)
        return sandbox_pb2.UpdatePortsResponse(ports=request.ports)

    async def ListSandboxes(
        self, request: sandbox_pb2.ListSandboxesRequest, context: Any
    ) -> sandbox_pb2.ListSandboxesResponse:
        return sandbox_pb2.ListSandboxesResponse(sandboxes=self.sandboxes.values())

    def drop(self, key: str) -> None:
        """Remove a sandbox."""
        self.ports_taken = {port: holder for port, holder in self.ports_taken.items() if holder != key}
        if self.sandboxes.pop(key, None) is not None:
            with contextlib.suppress(OSError):
                syscalls.umount(self.directory / key / "ns")
            shutil.rmtree(self.directory / key)

    def close(self) -> None:
        """Remove all sandboxes."""
        for key in list(self.sandboxes):
            self.drop(key)

    def _make(self, key: str, spec: sandbox_pb2.SandboxSpec) -> sandbox_pb2.Sandbox:
        directory = self.directory / key
        directory.mkdir()
        (directory / "hosts").write_text(f"127.0.0.1 localhost\n10.0.0.2 {spec.hostname}\n")
        (directory / "resolv.conf").write_text("nameserver 10.0.0.1\n")
        (directory / "hostname").write_text(f"{spec.hostname}\n")
        sandbox = sandbox_pb2.Sandbox(
            id=key,
            spec=spec,
            ports=spec.ports,
            hosts_path=str(directory / "hosts"),
            resolv_conf_path=str(directory / "resolv.conf"),
            hostname_path=str(directory / "hostname"),
        )
        if spec.mode != sandbox_pb2.SANDBOX_MODE_HOST:
            namespace = directory / "ns"
            namespace.touch()
            if spec.user_namespace_path:
                with namespaces.process_with_network(Path(spec.user_namespace_path)) as pid:
                    syscalls.mount(f"/proc/{pid}/ns/net", namespace, "", syscalls.MS_BIND)
            else:
                _new_namespace(namespace)
            sandbox.netns_path = str(namespace)
        return sandbox


def _new_namespace(target: Path) -> None:
    def make() -> None:
        syscalls.unshare(_CLONE_NEWNET)
        syscalls.mount(f"/proc/self/task/{threading.get_native_id()}/ns/net", target, "", syscalls.MS_BIND)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()


@contextlib.contextmanager
def closing_netd(netd: FakeNetd) -> Iterator[FakeNetd]:
    """Leave no namespace behind."""
    try:
        yield netd
    finally:
        netd.close()


async def serve_imaged(imaged: FakeImaged, run: Path) -> RpcServer:
    """Serve on imaged's socket."""
    server = RpcServer("imaged")
    server.add(image_pb2_grpc.add_ImageServiceServicer_to_server, imaged)
    server.add(snapshot_pb2_grpc.add_SnapshotServiceServicer_to_server, imaged)
    server.listen_unix(run / "imaged.sock")
    await server.start()
    return server


async def serve_netd(netd: FakeNetd, run: Path) -> RpcServer:
    """Serve on netd's socket."""
    server = RpcServer("netd")
    server.add(sandbox_pb2_grpc.add_SandboxServiceServicer_to_server, netd)
    server.listen_unix(run / "netd.sock")
    await server.start()
    return server
