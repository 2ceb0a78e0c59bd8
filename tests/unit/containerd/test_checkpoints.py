"""A checkpoint whose processes are gone already is not thrown away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from services.containerd.checkpoint.making import Checkpointer
from services.containerd.model.status import Record, Status
from services.containerd.runtime.flavour import Flavour, Kind
from services.containerd.runtime.layout import Layout
from services.kit import errors
from services.kit.system import SystemClock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("leave_running", [False, True])
async def test_images_are_kept_when_their_name_cannot_be_given(tmp_path: Path, leave_running: bool) -> None:
    layout = Layout(state=tmp_path / "s", run=tmp_path / "r")
    layout.make()
    clock = SystemClock()
    record = Record(id="a" * 64, name="web", created_at=clock.now(), status=Status(runtime="runc"))
    layout.bundle(record.id).path.mkdir()
    place = tmp_path / "one"
    partial = tmp_path / ".one.partial"

    async def run(_command: list[str], *, timeout_s: float) -> tuple[int, str]:
        assert timeout_s
        assert (partial / "beeyard.json").exists(), "what needs room is written before the processes end"
        (partial / "pages-1.img").write_bytes(b"state")
        place.mkdir()
        (place / "in the way").touch()
        return 0, ""

    machine = SimpleNamespace(
        layout=layout,
        flavours={"runc": Flavour(name="runc", path="/usr/sbin/runc", kind=Kind.RUNC)},
        spawners={False: SimpleNamespace(run=run)},
    )
    with pytest.raises(errors.Internal) as failed:
        await Checkpointer(cast("Any", machine), clock).make(record, str(place), leave_running=leave_running)
    assert failed.value.reason == "CHECKPOINT_INCOMPLETE"
    assert (partial / "pages-1.img").exists() is not leave_running
    assert ("kept as" in failed.value.message) is not leave_running
