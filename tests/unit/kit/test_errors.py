"""The errors: stable reasons, and messages for people."""

import copy
import pickle

import pytest

from services.kit import errors

CLASSES = sorted(errors.BeeyardError.__subclasses__(), key=lambda kind: kind.__name__)


def test_the_list_of_classes_is_closed() -> None:
    assert [kind.__name__ for kind in CLASSES if kind.__module__ == errors.__name__] == [
        "AlreadyExists",
        "Conflict",
        "Exhausted",
        "FailedPrecondition",
        "Internal",
        "Invalid",
        "NotFound",
        "PermissionDenied",
        "Unavailable",
        "Unsupported",
    ]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_class_has_a_reason_of_its_own(kind: type[errors.BeeyardError]) -> None:
    error = kind("what happened")
    assert str(error) == error.message == "what happened"
    assert error.reason == kind.default_reason
    assert error.reason.isupper()
    assert error.metadata == {}


def test_default_reasons_are_distinct() -> None:
    own = [kind.default_reason for kind in CLASSES if kind.__module__ == errors.__name__]
    assert len(set(own)) == len(own)


def test_reason_and_metadata_are_kept_and_copied() -> None:
    metadata = {"image": "web:1"}
    error = errors.NotFound("no such image", reason="IMAGE_NOT_FOUND", metadata=metadata)
    metadata["image"] = "changed"
    assert error.reason == "IMAGE_NOT_FOUND"
    assert error.metadata == {"image": "web:1"}
    assert repr(error) == "NotFound('no such image', reason='IMAGE_NOT_FOUND', metadata={'image': 'web:1'})"


def test_only_unavailable_asks_for_the_same_call_again() -> None:
    assert [kind.__name__ for kind in CLASSES if kind.retryable] == ["Unavailable"]


def test_errors_survive_copying() -> None:
    error = errors.Conflict("changed meanwhile", reason="VERSION", metadata={"version": "4"})
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.message, twin.reason, twin.metadata) == (
            errors.Conflict,
            "changed meanwhile",
            "VERSION",
            {"version": "4"},
        )
