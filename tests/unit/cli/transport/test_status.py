"""How a call ended, as our errors: the same as the daemons' own client says."""

from __future__ import annotations

import grpc
import pytest

from cli.transport import frames, status
from services.kit import errors
from services.kit.rpc import errors as rpc_errors


def test_the_table_is_the_client_s_half_of_the_kit() -> None:
    kit = {code.value[0]: kind for code, kind in rpc_errors._CLASSES.items()}
    assert dict(status.CLASSES) == kit
    assert set(kit) | {0} == {code.value[0] for code in grpc.StatusCode}
    assert (status.DETAILS, status.DOMAIN) == (rpc_errors.STATUS_DETAILS, rpc_errors.DOMAIN)


def test_a_good_end_is_no_error() -> None:
    assert status.error_of_trailers({":status": "200", "grpc-status": "0"}, "netd") is None


@pytest.mark.parametrize(
    ("trailers", "kind", "message"),
    [
        ({"grpc-status": "5", "grpc-message": "no such %C3%A4pfel"}, errors.NotFound, "no such äpfel"),
        ({"grpc-status": "14"}, errors.Unavailable, "the call failed with gRPC status 14"),
        (
            {"grpc-status": "12", "grpc-message": "Method not found!"},
            errors.Unsupported,
            "netd does not know this call: is it older than this program?",
        ),
        ({"grpc-status": "99"}, errors.Internal, "the call failed with gRPC status 99"),
        ({":status": "503"}, errors.Unavailable, "the call failed with gRPC status 14"),
        ({}, errors.Internal, "the call failed with gRPC status 2"),
        ({"grpc-status": "3", status.DETAILS: "!!"}, errors.Invalid, "the call failed with gRPC status 3"),
        ({"grpc-status": "3", status.DETAILS: "AAAA"}, errors.Invalid, "the call failed with gRPC status 3"),
    ],
)
def test_errors_of_trailers(trailers: dict[str, str], kind: type[errors.BeeyardError], message: str) -> None:
    error = status.error_of_trailers(trailers, "netd")
    assert type(error) is kind and error.message == message


def test_errors_of_resets_and_of_other_servers() -> None:
    assert isinstance(status.error_of_reset(frames.REFUSED_STREAM), errors.Unavailable)
    assert isinstance(status.error_of_reset(77), errors.Internal)
    assert isinstance(status.error_of_http("404"), errors.Unsupported)
    assert isinstance(status.error_of_http(""), errors.Internal)
