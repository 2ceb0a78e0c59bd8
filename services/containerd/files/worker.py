"""The worker process: packs and unpacks, away from the daemon's event loop. See `kit.workers`.

It works on the descriptors that come with a job, or on a root that it mounts for itself. It enters no namespace of a
container, changes no root and looks up no user by name: nothing of a container is ever loaded here (CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING

from services.containerd.files import assembling, jobs
from services.containerd.files.archive import decompress, packing, unpacking
from services.containerd.kernel import credentials
from services.kit import errors
from services.kit.tar.ids import IDENTITY
from services.kit.tar.source import Source
from services.kit.tar.walk import DEPTH_MAX
from services.kit.workers import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.kit.tar.ids import IdMap

READ_BYTES = 1 << 20


def main() -> None:
    """Serve jobs until the daemon closes the socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * DEPTH_MAX
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    inside.serve(_work)


def _work(packet: bytes, descriptors: Sequence[int], send: Callable[[bytes], object]) -> bytes:
    job = jobs.decode_job(packet)
    if job.assembly is None:
        return _do(job, descriptors[-1], descriptors[0], send)
    root = assembling.assemble(job.assembly)
    try:
        return _do(job, root, descriptors[0] if descriptors else -1, send)
    finally:
        os.close(root)


def _do(job: jobs.Job, root: int, data: int, send: Callable[[bytes], object]) -> bytes:
    path = job.path.encode()
    try:
        match job:
            case jobs.LookJob():
                send(jobs.encode_stat(packing.look(root, path, follow=job.follow)))
                return jobs.encode_done()
            case jobs.PackJob():
                with open(data, "wb", buffering=READ_BYTES, closefd=False) as stream:
                    packing.pack(
                        root,
                        path,
                        stream.write,
                        job.packing,
                        on_found=lambda found: send(jobs.encode_stat(found)),
                    )
                return jobs.encode_done()
            case jobs.UnpackJob():
                chunks = decompress.plain(lambda: os.read(data, READ_BYTES))
                source = Source(lambda: next(chunks, b""))
                with _as_root_of(job.unpacking.ids):
                    return jobs.encode_done(unpacking.unpack(source, root, path, job.unpacking))
    except OSError as exc:
        raise errors.Internal(f"cannot copy {job.path}: {exc.strerror or exc}", reason="FILES_IO") from exc


def _as_root_of(ids: IdMap) -> contextlib.AbstractContextManager[None]:
    """Make files as the root of a user namespace: volumes are mounted with its ids and take none from elsewhere."""
    root = ids.outside(0, 0)
    if ids == IDENTITY or root is None:
        return contextlib.nullcontext()
    return credentials.making_files_as(*root)


if __name__ == "__main__":
    main()
