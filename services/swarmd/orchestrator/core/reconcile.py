"""One look at a service: what is due, and when to look again. Pure.

Looking twice at the same state at the same moment asks for nothing the second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.swarmd.orchestrator.core import global_, jobs, reaper, replicated, start
from services.swarmd.orchestrator.core.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1.objects_pb2 import Service, Task
    from services.swarmd.orchestrator.core.draft import Plan, World


def reconcile(world: World, service: Service, tasks: Iterable[Task]) -> Plan:
    """Return what is due for a service.

    Args:
        world: What is around it, `now` included.
        service: The service.
        tasks: All of its tasks.
    """
    draft = Draft(world, service, tasks)
    match service.spec.mode.WhichOneof("mode"):
        case "global":
            global_.reconcile(draft)
        case "replicated_job":
            jobs.reconcile_replicated(draft)
        case "global_job":
            jobs.reconcile_global(draft)
        case "replicated" | None:
            replicated.reconcile(draft)
    start.start_ready(draft)
    reaper.close_unassigned(draft)
    reaper.reap(draft)
    return draft.plan()
