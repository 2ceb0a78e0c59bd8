"""A sandbox's network namespace that belongs to a user namespace."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from services.kit import namespaces
from services.netd.kernel import netns

pytestmark = pytest.mark.root

NS_GET_USERNS = 0xB701


def test_the_user_namespace_owns_it(tmp_path: Path) -> None:
    user, network = tmp_path / "user", tmp_path / "network"
    user.touch()
    traveller = netns.Traveller()
    try:
        with namespaces.process_with_user() as pid:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text("0 3000000 65536\n")
            subprocess.run(["mount", "--bind", f"/proc/{pid}/ns/user", str(user)], check=True)
        home = os.stat("/proc/self/ns/net").st_ino
        handle = traveller.create(network, {"net/ipv4/ip_unprivileged_port_start": "0"}, str(user))
        owner = fcntl.ioctl(handle.descriptor, NS_GET_USERNS)
        assert os.fstat(owner).st_ino == user.stat().st_ino
        os.close(owner)
        handle.close()
        netns.release(network)
        assert os.stat("/proc/self/ns/net").st_ino == home
        with pytest.raises(OSError, match="holds no user namespace"):
            traveller.create(network, {}, __file__)
        assert not network.exists()
    finally:
        traveller.close()
        netns.release(network)
        netns.release(user)
