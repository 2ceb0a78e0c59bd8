"""Programs really run: their output, their limits, and nothing left of them."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from services.kit import errors, piping, subproc


async def test_output_input_and_exit_code() -> None:
    done = await subproc.run(["sh", "-c", "cat; echo warn >&2"], input=b"hello", timeout_s=10)
    assert done == subproc.Completed(returncode=0, stdout=b"hello", stderr=b"warn\n")


async def test_much_input_and_much_output_at_once() -> None:
    data = os.urandom(1 << 20)
    done = await subproc.run(["cat"], input=data, timeout_s=30, output_max=1 << 20)
    assert done.stdout == data


async def test_input_that_nobody_reads_is_no_failure() -> None:
    await subproc.run(["true"], input=b"x" * (1 << 20), timeout_s=10)


async def test_there_is_no_shell() -> None:
    done = await subproc.run(["echo", "$HOME; *", "a b"], timeout_s=10)
    assert done.stdout == b"$HOME; * a b\n"


async def test_environment_directory_and_descriptors(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        done = await subproc.run(
            [
                "sh",
                "-c",
                f"pwd; env | grep -v ^PWD | grep -v ^_ | grep -v SHLVL; echo passed > /proc/self/fd/{writing}",
            ],
            env={"ONLY": "this"},
            cwd=tmp_path,
            pass_fds=[writing],
            timeout_s=10,
        )
        assert os.read(reading, 100) == b"passed\n"
    finally:
        os.close(reading)
        os.close(writing)
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("OLDPWD")]
    assert lines == [str(tmp_path), "ONLY=this"]


async def test_a_failure_says_what_the_program_said() -> None:
    with pytest.raises(subproc.Failed) as caught:
        await subproc.run(["sh", "-c", "echo out; echo no such container >&2; exit 3"], timeout_s=10)
    assert "exited with code 3: no such container" in caught.value.message
    assert isinstance(caught.value, errors.Internal)
    assert caught.value.metadata == {"program": "sh", "returncode": "3"}
    assert caught.value.completed.stdout == b"out\n"


async def test_death_by_signal_is_named() -> None:
    with pytest.raises(subproc.Failed, match="was ended by SIGKILL"):
        await subproc.run(["sh", "-c", "kill -9 $$"], timeout_s=10)
    done = await subproc.run(["sh", "-c", "kill -9 $$"], timeout_s=10, check=False)
    assert done.returncode == -signal.SIGKILL


async def test_long_error_output_keeps_its_end() -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"
    with pytest.raises(subproc.Failed, match="line 2999") as caught:
        await subproc.run(["sh", "-c", script], timeout_s=30, output_max=1000)
    assert len(caught.value.completed.stderr) == 1000


async def test_a_program_that_is_missing() -> None:
    with pytest.raises(errors.Internal, match="the program no-such-program does not exist") as caught:
        await subproc.run(["no-such-program"], timeout_s=10)
    assert caught.value.reason == "PROGRAM_MISSING"


async def test_a_directory_that_is_missing() -> None:
    with pytest.raises(errors.Internal, match="the directory /no/such does not exist"):
        await subproc.run(["true"], cwd="/no/such", timeout_s=10)


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(errors.Internal, match="cannot run") as caught:
        await subproc.run([str(tmp_path / "text")], timeout_s=10)
    assert caught.value.reason == "PROGRAM_NOT_STARTED"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    while alive(pid):
        await asyncio.sleep(0.01)


async def read_pid(path: Path) -> int:
    while not (path.exists() and path.read_text().strip()):
        await asyncio.sleep(0.01)
    return int(path.read_text())


async def test_the_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; echo started >&2; wait"
    with pytest.raises(errors.Unavailable, match=r"did not end within 0\.5 s: started") as caught:
        await subproc.run(["sh", "-c", script], timeout_s=0.5)
    assert caught.value.reason == "PROGRAM_TIMEOUT"
    async with asyncio.timeout(10):
        await gone(await read_pid(tmp_path / "pid"))


async def test_cancelling_kills_and_reaps(tmp_path: Path) -> None:
    running = asyncio.create_task(
        subproc.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60; true"], timeout_s=60)
    )
    pid = await read_pid(tmp_path / "pid")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{pid}").exists(), "killed but not reaped"


async def test_too_much_output_is_stopped() -> None:
    with pytest.raises(errors.Exhausted, match="yes wrote more than 1000 bytes"):
        await subproc.run(["yes"], timeout_s=30, output_max=1000)


async def test_a_child_left_in_the_background_lives_and_holds_nothing_up(tmp_path: Path) -> None:
    script = f"setsid sleep 60 & echo $! > {tmp_path}/pid; echo done"
    done = await subproc.run(["sh", "-c", script], timeout_s=30)
    pid = await read_pid(tmp_path / "pid")
    try:
        assert done.stdout == b"done\n"
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_many_at_once() -> None:
    done = await asyncio.gather(*(subproc.run(["echo", str(n)], timeout_s=60) for n in range(30)))
    assert [int(one.stdout) for one in done] == list(range(30))


async def test_no_lock_or_socket_is_inherited() -> None:
    reading, writing = os.pipe()
    try:
        listing = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
        done = await subproc.run([sys.executable, "-c", listing], timeout_s=30)
        assert done.stdout == b"[0, 1, 2, 3]\n"  # 3 is the listing itself
    finally:
        os.close(reading)
        os.close(writing)


async def test_output_without_an_end_is_taken_as_it_comes_and_ends_with_its_reader() -> None:
    script = "echo $$; echo warn >&2; exec yes"
    async with piping.piped(["sh", "-c", script]) as output:
        first = await output.read()
        await asyncio.sleep(0.2)  # it writes much more than is read ahead, unless it is held back
        assert 0 < len(await output.read()) < 4 * piping.BUFFER_BYTES_MAX
        pid = int(first.split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_a_program_says_at_its_end_is_told_behind_its_output() -> None:
    async with piping.piped(["sh", "-c", "echo out; echo why >&2; exit 3"]) as output:
        assert await output.read() == b"out\n"
        with pytest.raises(subproc.Failed, match="exited with code 3: why"):
            await output.read()
    with pytest.raises(errors.Internal) as missing:
        async with piping.piped(["/none"]):
            pass
    assert missing.value.reason == "PROGRAM_MISSING"
