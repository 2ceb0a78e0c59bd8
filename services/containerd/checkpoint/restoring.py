"""What a restore needs that a start does not. Pure.

CRIU puts the processes back where they were, and has the runtime say what is mounted there from outside. runc gets two
of these wrong: as the container's control groups (of v1 hierarchies, which are mounted one by one) it takes those in
which it runs itself, so that the container would see the node's; and what hides files in /proc becomes the node's own
/dev/null, whose mode the container's root could change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from services.containerd.model.status import NetworkStatus
    from services.containerd.ocispec.facts import Section

CRIU_CONFIG: Final = "org.criu.config"
"""The annotation by which runc and crun are told of a file with more options for CRIU."""
CLOSE_CONNECTIONS: Final = "tcp-close\n"
_GROUPS: Final = "/sys/fs/cgroup"


def adapt(config: Mapping[str, Any], groups: Iterable[Path], *, options: Path | None) -> Section:
    """Return the configuration with which a container is restored.

    Args:
        config: The one with which it would be started.
        groups: Its directory in each v1 hierarchy, as `/sys/fs/cgroup/memory/beeyard/ID`; none where there is no such.
        options: A file with more options for CRIU.
    """
    adapted: dict[str, Any] = dict(config)
    if options is not None:
        adapted["annotations"] = {CRIU_CONFIG: str(options), **config.get("annotations", {})}
    namespaces = {namespace["type"] for namespace in config["linux"]["namespaces"]}
    if (places := list(groups)) and "cgroup" not in namespaces:
        mounts: list[Any] = []
        for mount in config["mounts"]:
            mounts += _groups(mount, places) if mount["type"] == "cgroup" else [mount]
        adapted["mounts"] = mounts
    return adapted


def keeps_connections(then: Mapping[str, str], now: NetworkStatus) -> bool:
    """Return whether the addresses are those of the checkpoint, so that open connections can go on."""
    return all(then.get(endpoint.network) == endpoint.ip for endpoint in now.endpoints)


def _groups(mount: Mapping[str, Any], places: Iterable[Path]) -> list[dict[str, Any]]:
    """Return a mount for each group. The first names a file system over all, on which nothing is made to mount on."""
    options = [*mount["options"], "bind"]
    binds = []
    for place in places:
        hierarchy = place.relative_to(_GROUPS).parts[0]
        binds.append(
            {
                "destination": f"{_GROUPS}/{hierarchy}",
                "type": "bind",
                "source": str(place),
                "options": options,
            }
        )
    return [{"destination": "/sys", "type": "tmpfs", "source": "tmpfs", "options": []}, *binds]
