"""Texts of specifications."""

from __future__ import annotations

import pytest

from beeyard.container.v1 import container_pb2, spec_pb2
from services.containerd.api import texts
from services.kit import errors

MESSAGES = {
    "user": {"user": "a\0"},
    "cmd": {"cmd": ["a", "\0"]},
    "labels": {"labels": {"a\0": "b"}},
    "labels['a']": {"labels": {"a": "\0b"}},
    "network.dns_search": {"network": {"dns_search": ["a", "b\0"]}},
    "mounts.volume_options['o']": {"mounts": [{"target": "/a"}, {"volume_options": {"o": "\0"}}]},
    "resources.device_read_bps.path": {"resources": {"device_read_bps": [{"path": "/dev/\0"}]}},
}


@pytest.mark.parametrize("place", MESSAGES)
def test_a_nul_byte_is_refused_wherever_it_is(place: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        texts.check_spec(spec_pb2.ContainerSpec(**MESSAGES[place]))
    assert caught.value.reason == "SPEC_INVALID"
    assert caught.value.message.startswith(f"{place} holds a NUL byte")


def test_filters_are_texts_too() -> None:
    request = container_pb2.ListContainersRequest()
    request.filters["name"].values.append("\0")
    with pytest.raises(errors.Invalid, match=r"filters\['name'\]\.values holds"):
        texts.refuse_nul(request)


def test_the_size_of_a_specification_is_bounded_but_for_its_files() -> None:
    spec = spec_pb2.ContainerSpec(
        image="a", files=[{"path": "/a", "data": b"\0" * (texts.SPEC_BYTES_MAX + 1)}]
    )
    texts.check_spec(spec)
    spec.security.seccomp = "{" * texts.SPEC_BYTES_MAX
    with pytest.raises(errors.Invalid, match="larger than"):
        texts.check_spec(spec)
