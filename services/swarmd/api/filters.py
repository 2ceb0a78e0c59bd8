"""Docker's filters of lists: values of one key are alternatives, keys must all hold; labels must all hold too. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from beeyard.swarm.v1 import control_pb2

T = TypeVar("T")

VALUES_MAX = 1000


class Filter(Generic[T]):
    """The filters that one kind of list knows.

    Args:
        any_of: For each key, whether an object meets one value of it.
        all_of: The same for keys of which every value must be met: labels.
    """

    def __init__(
        self,
        any_of: Mapping[str, Callable[[T, str], bool]],
        all_of: Mapping[str, Callable[[T, str], bool]] | None = None,
    ) -> None:
        self._any_of = dict(any_of)
        self._all_of = dict(all_of or {})

    def apply(self, items: Iterable[T], filters: control_pb2.Filters) -> list[T]:
        """Return the objects that meet all filters.

        Raises:
            errors.Invalid: FILTER_INVALID: a key is not known.
        """
        selected = list(items)
        for key, values in filters.by_key.items():
            if len(values.values) > VALUES_MAX:
                raise _invalid(f"filter {key!r} has more than {VALUES_MAX} values")
            if key in self._any_of:
                test = self._any_of[key]
                selected = [item for item in selected if any(test(item, value) for value in values.values)]
            elif key in self._all_of:
                test = self._all_of[key]
                selected = [item for item in selected if all(test(item, value) for value in values.values)]
            else:
                known = ", ".join(sorted((*self._any_of, *self._all_of)))
                raise _invalid(f"invalid filter {key[:64]!r}: use one of {known}")
        return selected


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Say whether labels meet "key" or "key=value"."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="FILTER_INVALID")
