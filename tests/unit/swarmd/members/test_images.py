"""Which image the nodes mean when they disagree."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.swarmd.gateway.ports import NodePlace
from services.swarmd.members.images import Holder, agree

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _holder(node: str, digest: str, age_s: int, *, local: bool = False) -> Holder:
    return Holder(
        place=NodePlace(node_id=node, address=f"{node}:2377"),
        local=local,
        manifest_digest=digest,
        image_id=f"id-{digest}",
        tagged_at=NOW - timedelta(seconds=age_s),
    )


def test_nobody_has_it() -> None:
    assert agree([]) is None


def test_the_newest_tagging_wins_and_only_those_who_have_it_are_named() -> None:
    located = agree([_holder("a", "old", 60), _holder("b", "new", 1), _holder("c", "new", 30)])
    assert located is not None
    assert (located.manifest_digest, located.image_id) == ("new", "id-new")
    assert [place.node_id for place in located.holders] == ["b", "c"]


def test_this_node_comes_first() -> None:
    located = agree([_holder("a", "x", 1), _holder("z", "x", 1, local=True)])
    assert located is not None
    assert [place.node_id for place in located.holders] == ["z", "a"]


@given(
    st.permutations([_holder("a", "x", 5), _holder("b", "y", 5), _holder("c", "x", 9), _holder("d", "y", 7)])
)
def test_the_order_of_the_answers_does_not_matter(answers: list[Holder]) -> None:
    assert agree(answers) == agree(sorted(answers, key=lambda holder: holder.place.node_id))
