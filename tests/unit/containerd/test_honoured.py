"""What a node cannot honour is refused by the name of its flag."""

from __future__ import annotations

import pytest

from services.containerd.model.spec import ContainerSpec, Network, Resources, Security
from services.containerd.ocispec import honoured
from services.containerd.ocispec.facts import HostFacts
from services.containerd.runtime import oci_cli
from services.kit import errors

NODE = HostFacts(cpu_realtime=False, oom_score_adj_min=0)


@pytest.mark.parametrize(
    ("spec", "flag"),
    [
        (ContainerSpec(storage_options={"size": "1g"}), "--storage-opt size"),
        (ContainerSpec(security=Security(apparmor="mine")), "apparmor=mine"),
        (ContainerSpec(security=Security(selinux=("type:x",))), "label=type:x"),
        (ContainerSpec(resources=Resources(cpu_rt_runtime_us=1000)), "--cpu-rt-runtime"),
        (ContainerSpec(resources=Resources(oom_score_adj=-5)), "--oom-score-adj -5"),
        (ContainerSpec(cgroup_parent="../up"), "--cgroup-parent"),
        (ContainerSpec(cgroup_parent="a/./b"), "--cgroup-parent"),
        (ContainerSpec(cgroup_parent="a/" + "b" * 256), "at most 255 bytes"),
        (ContainerSpec(cgroup_parent="/".join(["a" * 200] * 6)), "the path 1024 characters"),
        (ContainerSpec(cgroup_parent="a\nb"), "--cgroup-parent"),
        (
            ContainerSpec(network=Network(hostname="x"), security=Security(uts="host")),
            "hostname and the UTS mode",
        ),
        (
            ContainerSpec(network=Network(domainname="x"), security=Security(uts="container:a")),
            "hostname and the UTS mode",
        ),
    ],
)
def test_refused(spec: ContainerSpec, flag: str) -> None:
    with pytest.raises(errors.BeeyardError) as caught:
        honoured.check(spec, NODE)
    assert flag in caught.value.message


@pytest.mark.parametrize(
    "spec",
    [
        ContainerSpec(security=Security(apparmor="unconfined", selinux=("disable",))),
        ContainerSpec(network=Network(hostname="x"), security=Security(uts="private")),
        ContainerSpec(cgroup_parent="/tenants/one", resources=Resources(oom_score_adj=500)),
    ],
)
def test_accepted(spec: ContainerSpec) -> None:
    honoured.check(spec, NODE)


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (
            'time="2026-11-24T08:16:39Z" level=error msg="runc create failed: unable to start \\"x\\""',
            'runc create failed: unable to start "x',
        ),
        ("2026-11-24T08:16:39.000Z: executable file `x` not found", "executable file `x` not found"),
        ("open executable: Operation not permitted", "it is a directory, or"),
        (
            "opening file `/sys/fs/cgroup/./cgroup.type` for writing: Permission denied",
            "the control group that --cgroup-parent or the settings name has processes itself",
        ),
        (
            'level=error msg="runc create failed: cannot enter cgroupv2 \\"x\\" with domain controllers"',
            "has processes itself (",
        ),
        ("realtime period not supported on cgroupv2", "--cpu-rt-period: the kernel does not take it"),
        ("open io.weight: No such file or directory", "--blkio-weight or --blkio-weight-device: the kernel"),
    ],
)
def test_a_runtimes_message_without_its_decoration(raw: str, plain: str) -> None:
    assert plain in oci_cli.explain(raw)
    assert "level=error" not in oci_cli.explain(raw)
    assert 'time="' not in oci_cli.explain(raw)
