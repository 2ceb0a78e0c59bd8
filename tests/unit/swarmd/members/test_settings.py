"""What may be set for a swarm."""

from typing import Any

import pytest

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.members import settings


def test_nothing_set_is_the_defaults() -> None:
    settings.check(objects_pb2.ClusterSpec())


@pytest.mark.parametrize(
    "fields",
    [
        {"heartbeat_period_ms": 99},
        {"heartbeat_period_ms": 60_001},
        {"certificate_expiry_ms": 3_599_999},
        {"default_address_pool": ["10.0.0.0/8", "10.1.0.0/16"]},
        {"default_address_pool": ["10.0.0.1/8"]},
        {"default_address_pool": ["fd00::/64"]},
        {"default_address_pool": ["10.0.0.0/28"], "default_address_pool_mask": 24},
        {"default_address_pool_mask": 30},
        {"data_path_port": 80},
        {"annotations": objects_pb2.Annotations(name="x" * 65)},
        {"annotations": objects_pb2.Annotations(name="a\nb")},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.Invalid) as refused:
        settings.check(objects_pb2.ClusterSpec(**fields))
    assert refused.value.reason == "SPEC_INVALID"


@pytest.mark.parametrize("fields", [{"autolock": True}, {"snapshot_interval": 500}])
def test_what_this_release_has_not_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.Unsupported):
        settings.check(objects_pb2.ClusterSpec(**fields))
