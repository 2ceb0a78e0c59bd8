"""Two hundred rounds. Any number more: `make crash SEEDS=n START=k`."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator

import pytest

from tests.component.containerd.crash.__main__ import ROUNDS_ENOUGH, verdict
from tests.component.containerd.crash.mutations import MUTATIONS
from tests.component.containerd.crash.run import Totals, run
from tests.component.containerd.crash.script import POINTS, RUNTIMES, plan
from tests.component.containerd.crash.zygote import Zygote

pytestmark = [pytest.mark.root, pytest.mark.slow]

ROUNDS = 200
IN_ONE_TEST = 20
_died_at: collections.Counter[str] = collections.Counter()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """One for all rounds: what it forks knows nothing of what it forked before."""
    with Zygote() as made:
        yield made


def test_every_point_has_rounds_with_each_runtime() -> None:
    seen = {
        (plan(seed).deaths[0].fault.partition(":")[0], container.fields["runtime"])
        for seed in range(ROUNDS)
        for container in plan(seed).containers
    }
    assert not set(itertools.product(POINTS, RUNTIMES)) - seen


def test_what_was_never_met_fails_only_where_it_should_have_been(capsys: pytest.CaptureFixture[str]) -> None:
    met = collections.Counter(POINTS[1:])
    assert verdict(Totals(rounds=ROUNDS_ENOUGH, died_at=met), mutated=False) == 1
    assert f"at 1 fault points: {POINTS[0]}" in capsys.readouterr().out
    assert verdict(Totals(rounds=ROUNDS_ENOUGH - 1, died_at=met), mutated=False) == 0
    assert POINTS[0] in capsys.readouterr().out
    assert verdict(Totals(rounds=ROUNDS_ENOUGH, died_at=collections.Counter(POINTS)), mutated=False) == 0
    assert not capsys.readouterr().out


@pytest.mark.parametrize("first", range(0, ROUNDS, IN_ONE_TEST))
async def test_nothing_is_lost_and_nothing_is_left(first: int, zygote: Zygote) -> None:
    totals = await run(range(first, first + IN_ONE_TEST), zygote)
    _died_at.update(totals.died_at)
    assert not totals.failures, "\n\n".join(totals.failures)
    if first == ROUNDS - IN_ONE_TEST and _died_at.total() > ROUNDS // 2:  # all of them were run
        assert not [point for point in POINTS if not _died_at[point]], "every point has killed a daemon"


@pytest.mark.parametrize(
    "name", ["leaves_mounts", "leaves_processes", "leaves_frozen", "does_not_write_records"]
)
async def test_what_is_broken_is_found(name: str, zygote: Zygote) -> None:
    """Rounds in which nothing can go wrong find nothing. More of them: `... --mutate NAME`."""
    totals = await run(MUTATIONS[name].seeds, zygote, mutation=name, stop_at_failure=True, settle_s=1.5)
    assert totals.failures, f"nobody has noticed that the daemon {name.replace('_', ' ')}"
