"""Runs one world and says how to run it again if it fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.sim.raft.world import World


def failure_of(world: World) -> str | None:
    """Run it; return what went wrong, seed, commit, and the command that shows it again; None if all is well."""
    try:
        world.run()
    except AssertionError as error:
        return (
            f"seed {world.seed} failed at {world.now_ms:.0f} ms: {error}\n"
            f"  commit {_commit()}, {world.profile.members} members\n"
            f"  again: python -m tests.sim.raft --start {world.seed} --seeds 1 --trace"
        )
    return None


def _commit() -> str:
    root = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
