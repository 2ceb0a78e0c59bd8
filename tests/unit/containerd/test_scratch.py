"""Where conmon and the runtimes are told to put what they need for a moment."""

from __future__ import annotations

import socket
from pathlib import Path

from services.containerd.runtime import scratch


def test_sockets_go_where_their_paths_fit() -> None:
    fits, too_long = Path("/" + "x" * 87), Path("/" + "x" * 88)
    assert len(str(fits / "conmon-term.123456")) == 107
    assert scratch.environment(fits) == {"_LIBCONTAINER_STATEDIR": str(fits), "TMPDIR": str(fits)}
    assert scratch.environment(too_long) == {"_LIBCONTAINER_STATEDIR": str(too_long)}


def test_what_nobody_uses_is_removed(socket_dir: Path) -> None:
    (socket_dir / "crun.123456").touch()
    (socket_dir / "conmon-term.early").touch()
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(socket_dir / "conmon-term.alive"))
        dead.bind(str(socket_dir / "conmon-term.dead"))
        dead.close()
        assert scratch.clear(socket_dir) == 2
        assert {path.name for path in socket_dir.iterdir()} == {"conmon-term.alive", "conmon-term.early"}
        assert scratch.clear(socket_dir, at_start=True) == 1
    assert scratch.clear(socket_dir) == 1
    assert list(socket_dir.iterdir()) == []
