"""Join tokens: their form, and what tells a wrong one apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors
from services.swarmd.ca import base36, tokens

DIGEST = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16))
def test_a_token_is_read_back_as_it_was_written(digest: bytes, secret: bytes) -> None:
    token = tokens.JoinToken(root_digest=digest, secret=secret)
    assert tokens.parse(str(token)) == token


def test_a_token_has_the_form_that_docker_users_know() -> None:
    prefix, version, digest, secret = str(tokens.new(DIGEST)).split("-")
    assert (prefix, version, len(digest), len(secret)) == ("SWMTKN", "1", 50, 25)


def test_new_tokens_differ_in_their_secret_only() -> None:
    one, other = tokens.new(DIGEST), tokens.new(DIGEST)
    assert one.root_digest == other.root_digest
    assert one.secret != other.secret
    assert not tokens.same(one, other)
    assert tokens.same(one, tokens.parse(str(one)))


@given(st.text(max_size=300))
def test_whatever_is_no_token_is_refused_with_one_reason(text: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        tokens.parse(text)
    assert refused.value.reason == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "broken",
    [
        "SWMTKN-2-" + "0" * 50 + "-" + "0" * 25,
        "SWMTKN-1-" + "0" * 49 + "-" + "0" * 25,
        "SWMTKN-1-" + "0" * 50 + "-" + "0" * 24,
        "SWMTKN-1-" + "A" * 50 + "-" + "0" * 25,
        "SWMTKN-1-" + "z" * 50 + "-" + "0" * 25,  # a number beyond 256 bits
        "SWMTKN-1-" + "0" * 50 + "-" + "z" * 25,
        "SWMTKN-1-" + "0" * 50,
        "swmtkn-1-" + "0" * 50 + "-" + "0" * 25,
    ],
)
def test_a_damaged_token_is_refused_without_being_repeated(broken: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        tokens.parse(broken)
    assert refused.value.reason == "TOKEN_INVALID"
    assert broken not in refused.value.message


def test_a_token_of_another_swarm_is_told_from_a_wrong_one() -> None:
    token = tokens.new(DIGEST)
    tokens.check_swarm(token, DIGEST, "10.0.0.1:2377")
    with pytest.raises(errors.PermissionDenied, match=r"another swarm.*10\.0\.0\.1:2377") as refused:
        tokens.check_swarm(token, bytes(32), "10.0.0.1:2377")
    assert refused.value.reason == "TOKEN_OTHER_SWARM"


@given(st.binary(max_size=32))
def test_base36_keeps_its_width(data: bytes) -> None:
    text = base36.render(data, 50)
    assert len(text) == 50
    assert base36.parse(text, len(data) or 1) == (data or b"\0")
