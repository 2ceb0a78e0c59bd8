"""What containers use, as `stats` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from beeyard.container.v1 import container_pb2 as pb

DEFAULT = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
HEADERS: Mapping[str, str] = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}


def row(used: pb.ContainerStats, *, full: bool, asked: Sequence[str] = ()) -> dict[str, Any]:
    """Make a row of `stats`; `asked` are the containers as the user has named them."""
    share = 100 * used.memory_bytes / used.memory_limit_bytes if used.memory_limit_bytes else 0.0
    memory = units.render_bytes_binary(used.memory_bytes)
    shown_id = used.id if full else used.id[:12]
    return {
        "Container": next(
            (name for name in asked if name == used.name or used.id.startswith(name)), shown_id
        ),
        "ID": shown_id,
        "Name": used.name,
        "CPUPerc": f"{used.cpu_percent:.2f}%",
        "MemUsage": f"{memory} / {units.render_bytes_binary(used.memory_limit_bytes)}",
        "MemPerc": f"{share:.2f}%",
        "NetIO": f"{units.render_bytes(used.network_rx_bytes)} / {units.render_bytes(used.network_tx_bytes)}",
        "BlockIO": f"{units.render_bytes(used.block_read_bytes)} / {units.render_bytes(used.block_write_bytes)}",
        "PIDs": str(used.pids),
    }
