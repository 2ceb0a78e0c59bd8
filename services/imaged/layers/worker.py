"""The worker process: does the heavy work on layers, away from the daemon's event loop and its interpreter lock.

It takes one job after the other, each with the descriptors it works on, and answers with progress and one result. It
opens nothing that a job does not hand or name to it, and it dies with the daemon (`kit.workers`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.imaged import disk
from services.imaged.layers import apply, changes, decompress, diff, jobs, limits, usage
from services.imaged.layers.lower import LowerTree
from services.imaged.layers.mount_points import MountPoints
from services.imaged.layers.pipeline import Ahead, Hasher, read_chunks
from services.kit import errors
from services.kit.tar.entry import show
from services.kit.tar.source import Source
from services.kit.workers import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PROGRESS_EVERY_BYTES = 8 << 20


def main() -> None:
    """Serve jobs until the daemon closes the socket."""
    inside.serve(_work)


def _work(packet: bytes, descriptors: Sequence[int], send: Callable[[bytes], object]) -> bytes:
    return jobs.encode(_run(jobs.decode(packet), descriptors, send))


def _run(
    job: jobs.Job | jobs.Reply, descriptors: Sequence[int], send: Callable[[bytes], object]
) -> jobs.Reply:
    try:
        match job:
            case jobs.ApplyJob():
                blob, target = descriptors
                return _apply(job, blob, target, send)
            case jobs.ExportJob():
                return _export(job, descriptors[0])
            case jobs.ListChangesJob():
                return _list_changes(job, descriptors[0])
            case jobs.MeasureJob():
                measured = usage.measure(os.fsencode(job.directory))
                return jobs.MeasureResult(size_bytes=measured.size_bytes, inode_count=measured.inode_count)
            case _:
                raise errors.Internal(f"{type(job).__name__} is not a job")
    except OSError as error:
        raise limits.from_os_error(error, f"read or write {error.filename or 'a layer'}") from error
    except RecursionError as error:
        raise errors.Unsupported("the tree is nested too deeply", reason="TREE_TOO_DEEP") from error


def _apply(job: jobs.ApplyJob, blob: int, target: int, send: Callable[[bytes], object]) -> jobs.ApplyResult:
    compression, chunks = decompress.peek(read_chunks(blob))
    hasher = Hasher() if job.with_diff_id else None
    lower = LowerTree([os.fsencode(path) for path in job.lower_dirs]) if job.lower_dirs is not None else None
    diff_id_hex = ""
    try:
        with Ahead(decompress.decompress(chunks, compression)) as ahead:
            stream: Iterator[bytes] = hasher.tee(ahead) if hasher else iter(ahead)
            applied = apply.apply(
                Source(lambda: next(stream, b"")),
                target,
                lower=lower,
                limits=job.limits,
                on_progress=_reporter(send),
            )
    finally:
        if hasher:
            diff_id_hex = hasher.finish()
    return jobs.ApplyResult(
        diff_id_hex=diff_id_hex,
        size_bytes=applied.size_bytes,
        entry_count=applied.entry_count,
        xattrs_skipped=applied.xattrs_skipped,
        is_compressed=compression != "none",
    )


def _reporter(send: Callable[[bytes], object]) -> Callable[[int], None]:
    reported = 0

    def report(position: int) -> None:
        nonlocal reported
        if position - reported >= _PROGRESS_EVERY_BYTES:
            reported = position
            send(jobs.encode(jobs.Progress(done_bytes=position)))

    return report


def _export(job: jobs.ExportJob, output: int) -> jobs.ExportResult:
    reserve = disk.Reserve(output)
    with open(output, "wb", buffering=1 << 20, closefd=False) as file:

        def write(data: bytes) -> None:
            reserve.take(len(data))
            file.write(data)

        written = diff.write_layer(_compare(job.comparison), write, job.comparison.ids)
    return jobs.ExportResult(
        sha256_hex=written.sha256_hex,
        tar_bytes=written.tar_bytes,
        size_bytes=written.size_bytes,
        entry_count=written.entry_count,
    )


def _list_changes(job: jobs.ListChangesJob, output: int) -> jobs.Done:
    with open(output, "w", encoding="utf-8", closefd=False) as file:
        file.writelines(
            f"{change.kind.value} /{_escape(b'/'.join(change.parts))}\n"
            for change in _compare(job.comparison)
        )
    return jobs.Done()


def _escape(path: bytes) -> str:
    r"""Return a path as text: bytes that are not UTF-8, and control characters, as \xNN."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else show(char.encode()) for char in text)


def _compare(comparison: jobs.Comparison) -> Iterator[changes.Change]:
    new = _open(comparison.new_dir)
    below = comparison.lower_dirs
    if below is None:
        below = (comparison.old_dir,) if comparison.old_dir else ()
    lower = LowerTree([os.fsencode(path) for path in below])
    points = MountPoints((os.fsencode(path) for path in comparison.mount_points), lower)
    try:
        if comparison.lower_dirs is None and comparison.old_dir:
            old = _open(comparison.old_dir)
            try:
                yield from changes.walk_trees(new, old, points)
            finally:
                os.close(old)
        else:
            yield from changes.walk_overlay(new, lower, points, comparison.ids)
    finally:
        os.close(new)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


if __name__ == "__main__":
    main()
