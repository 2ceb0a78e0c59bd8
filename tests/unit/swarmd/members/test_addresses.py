"""Addresses as people write them."""

import pytest

from services.kit import errors
from services.swarmd.members import addresses


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("10.0.0.1", ("10.0.0.1", 2377)),
        ("10.0.0.1:4000", ("10.0.0.1", 4000)),
        ("m1.example", ("m1.example", 2377)),
        ("fd00::1", ("fd00::1", 2377)),
        ("[fd00::1]", ("fd00::1", 2377)),
        ("[fd00::1]:4000", ("fd00::1", 4000)),
    ],
)
def test_addresses_are_read(text: str, parsed: tuple[str, int]) -> None:
    assert addresses.parse(text) == parsed
    assert addresses.parse(addresses.render(*parsed)) == parsed


@pytest.mark.parametrize(
    "text", ["10.0.0.1:0", "10.0.0.1:70000", "a:b", "[fd00::1", "[fd00::1]x", "a b", "http://m1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        addresses.parse(text)
    assert refused.value.reason == "ADDRESS_INVALID"


@pytest.mark.parametrize("text", ["2377", "host", "m1.example:2377", ":x"])
def test_one_listens_on_addresses_only(text: str) -> None:
    with pytest.raises(errors.Invalid):
        addresses.parse_listen(text)


def test_what_is_told_to_others() -> None:
    assert addresses.advertised("10.0.0.5", "0.0.0.0", 2377) == "10.0.0.5:2377"
    assert addresses.advertised("10.0.0.5:99", "0.0.0.0", 2377) == "10.0.0.5:99"
    assert addresses.advertised("", "127.0.0.2", 2377) == "127.0.0.2:2377"
    assert addresses.advertised("", "0.0.0.0", 2377, towards="127.0.0.1") == "127.0.0.1:2377"
    with pytest.raises(errors.Invalid):
        addresses.advertised("0.0.0.0", "0.0.0.0", 2377)


def test_the_node_reaches_itself() -> None:
    assert addresses.local("0.0.0.0", 1) == "127.0.0.1:1"
    assert addresses.local("::", 1) == "[::1]:1"
    assert addresses.local("127.0.0.3", 1) == "127.0.0.3:1"
