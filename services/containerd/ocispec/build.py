"""The whole config.json of a bundle, from what was asked, what the image says and what the shell has put in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.ocispec import linux, mounts, process

if TYPE_CHECKING:
    from services.containerd.model.image import ImageConfig
    from services.containerd.model.spec import ContainerSpec
    from services.containerd.ocispec.facts import HostFacts, Placement, Section

OCI_VERSION = "1.0.2"
BPF_ANNOTATION = "run.oci.seccomp_bpf_data"
"""crun takes a compiled filter here and skips compiling `linux.seccomp`, which costs it 10 ms a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The configuration, and what of the request could not be had fully."""

    config: Section
    warnings: tuple[str, ...] = ()


def build(spec: ContainerSpec, image: ImageConfig, placement: Placement, host: HostFacts) -> Built:
    """Return the OCI runtime configuration of one container.

    Raises:
        errors.Invalid: The request contradicts itself or the image.
        errors.Unsupported: This machine cannot do what was asked.
    """
    process_section, process_warnings = process.section(spec, image, placement, host)
    linux_section, linux_warnings = linux.section(spec, placement, host)
    config: Section = {
        "ociVersion": OCI_VERSION,
        "process": process_section,
        "root": {"path": placement.rootfs, "readonly": spec.security.read_only_root},
        "mounts": mounts.section(spec, placement, host),
        "linux": linux_section,
    }
    if spec.security.own_uts and placement.hostname:
        config["hostname"] = placement.hostname
    if spec.security.own_uts and spec.network.domainname and placement.ids is not None:
        config["domainname"] = spec.network.domainname
    annotations = dict(spec.annotations)
    if placement.seccomp is not None and placement.seccomp.bpf_base64:
        annotations[BPF_ANNOTATION] = placement.seccomp.bpf_base64
    if annotations:
        config["annotations"] = annotations
    return Built(config=config, warnings=(*process_warnings, *linux_warnings))
