"""Our compiled filter is the one that crun compiles itself from the same configuration."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from services.containerd import hostfacts
from services.containerd.cgroups import hierarchy
from services.containerd.kernel import mountinfo
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import ContainerSpec, Security
from services.containerd.ocispec import capabilities
from services.containerd.ocispec.build import BPF_ANNOTATION, build
from services.containerd.ocispec.facts import Placement
from services.containerd.seccomp.filters import Filters
from tests.component.containerd import groups
from tests.component.containerd.neighbours import make_rootfs

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("crun") is None, reason="crun is not installed"),
]

PROFILE = Path("/usr/share/containers/seccomp.json")


@pytest.mark.parametrize("add", [(), ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")])
def test_byte_for_byte(tmp_path: Path, add: tuple[str, ...]) -> None:
    host = hostfacts.read(hierarchy.find(mountinfo.read()))
    filters = Filters(PROFILE, tmp_path / "cache", host)
    bounding = capabilities.resolve(add=add, drop=(), privileged=False, available=host.capabilities)
    made = filters.default(bounding)
    bundle, root = tmp_path / "b", tmp_path / "rt"
    make_rootfs(bundle / "rootfs")
    spec = ContainerSpec(image="x", command=("/bin/true",), security=Security(cap_add=add))
    placement = Placement(
        container_id="x",
        rootfs=str(bundle / "rootfs"),
        cgroup_path=f"/beeyard-test-{tmp_path.name}/x",
        netns_path="",
        hostname="x",
        seccomp=made,
    )
    config = build(spec, ImageConfig(), placement, host).config
    annotations = config.pop("annotations")
    assert isinstance(annotations, dict)
    (bundle / "config.json").write_text(json.dumps(config))
    crun = f"crun --root={root}"
    inside = "umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "
    try:
        create = f"{inside} {crun} create --bundle={bundle} x"
        subprocess.run(["unshare", "-m", "sh", "-c", create], check=True, stdin=subprocess.DEVNULL)
        theirs = (root / "x/seccomp.bpf").read_bytes()
    finally:
        subprocess.run(["unshare", "-m", "sh", "-c", f"{inside} {crun} delete --force x"], check=True)
        for group in groups.tops(f"beeyard-test-{tmp_path.name}"):
            group.rmdir()
    assert base64.b64decode(annotations[BPF_ANNOTATION]) == theirs
    assert base64.b64decode(made.bpf_base64) == theirs


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    host = hostfacts.read(hierarchy.find(mountinfo.read()))
    first = Filters(PROFILE, tmp_path, host).default(("CAP_CHOWN",))
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(b"damaged")
    assert Filters(PROFILE, tmp_path, host).default(("CAP_CHOWN",)) == first
    assert cached.read_bytes() != b"damaged"
