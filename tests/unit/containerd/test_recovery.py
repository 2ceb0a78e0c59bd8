"""What recovery finds of a container that ends while it looks."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from services.containerd.kernel import processes
from services.containerd.lifecycle.messages import Exited
from services.containerd.model.spec import ContainerSpec
from services.containerd.model.status import Phase, ProcessRef, Record, Run, State, Status
from services.containerd.recovery import Recovery
from services.containerd.runtime.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_exit_written_while_recovery_looks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Exited] = []

    def ends_now(_conmon: ProcessRef) -> bool:
        written.append(Exited(exit_code=0))
        return False

    monkeypatch.setattr(processes, "alive", ends_now)
    run = Run(init=ProcessRef(pid=2, start_ticks=1), conmon=ProcessRef(pid=3, start_ticks=1), boot_id="b")
    status = Status(runtime="crun", phase=Phase.UP, state=State.RUNNING, run=run, started_at=NOW)
    record = Record(id="a" * 64, name="web", created_at=NOW, spec=ContainerSpec(image="x"), status=status)
    layout = Layout(state=tmp_path / "s", run=tmp_path / "r")
    parts: dict[str, Any] = {
        "machine": SimpleNamespace(layout=layout, boot_id="b", cgroup_parent="p"),
        "watcher": SimpleNamespace(exit_of=lambda _id: written[-1] if written else None),
        "control": SimpleNamespace(is_frozen=lambda _path: False, exists=lambda _path: False),
    }
    unused = dict.fromkeys(("engine", "store", "hierarchies", "clean_up", "volumes"))
    found = cast("Any", Recovery)(**parts, **unused)._look(record, same_boot=True)
    assert found.exit == Exited(exit_code=0)
    assert not found.conmon_alive
