"""Filters of `image ls` and `image prune`, by Docker's rules. Pure.

Values of `reference` are alternatives; every `label` must match; an image must pass every key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.imaged.model import config as configs
from services.imaged.model import glob
from services.kit import errors, units

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from services.imaged.images.view import ImageView
    from services.imaged.model.reference import Reference

LIST_KEYS = ("before", "dangling", "label", "reference", "since", "until")
PRUNE_KEYS = ("dangling", "label", "label!", "until")
VALUES_MAX = 100
_TRUE = {"1", "true", "t"}
_FALSE = {"0", "false", "f"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFilter:
    """Says which images are meant."""

    references: tuple[re.Pattern[str], ...] = ()
    labels: tuple[tuple[str, str | None], ...] = ()
    without_labels: tuple[tuple[str, str | None], ...] = ()
    dangling: bool | None = None
    before: datetime | None = None
    since: datetime | None = None

    def passes(self, view: ImageView) -> bool:
        """Return whether an image is one of them."""
        labels = view.config.run.labels
        created_at = view.record.created_at
        return (
            (self.dangling is None or self.dangling is not any(name.reference.tag for name in view.names))
            and all(_has(labels, *label) for label in self.labels)
            and not any(_has(labels, *label) for label in self.without_labels)
            and (self.before is None or created_at < self.before)
            and (self.since is None or created_at > self.since)
            and (not self.references or bool(self.matching_tags(view)))
        )

    def without_dangling(self) -> ImageFilter:
        """Return the filter without its `dangling` part."""
        return replace(self, dangling=None)

    def matching_tags(self, view: ImageView) -> list[str]:
        """Return the tags of an image that the `reference` patterns match; all without such a pattern."""
        return [
            name.reference.familiar
            for name in view.names
            if name.reference.tag and self._matches(name.reference)
        ]

    def _matches(self, reference: Reference) -> bool:
        return not self.references or any(
            pattern.fullmatch(reference.familiar) or pattern.fullmatch(reference.familiar_name)
            for pattern in self.references
        )


def parse(
    filters: Mapping[str, Sequence[str]],
    keys: Sequence[str],
    *,
    now: datetime,
    created_at: Mapping[str, datetime],
) -> ImageFilter:
    """Return the filter that the key-value pairs mean.

    Args:
        filters: Values by key.
        keys: The keys that are known here.
        now: For `until` with a duration.
        created_at: Creation times of the images that `before` and `since` name.

    Raises:
        errors.Invalid: With reason FILTER_INVALID.
    """
    for key, values in filters.items():
        if key not in keys:
            raise _invalid(f"unknown filter {key[:50]!r}: use {', '.join(keys)}")
        if len(values) > VALUES_MAX:
            raise _invalid(f"filter {key} has more than {VALUES_MAX} values")
    before = [created_at[value] for value in filters.get("before", ())]
    before += [parse_instant(value, now) for value in filters.get("until", ())]
    return ImageFilter(
        references=tuple(glob.compile_pattern(value) for value in filters.get("reference", ())),
        labels=tuple(_label(value) for value in filters.get("label", ())),
        without_labels=tuple(_label(value) for value in filters.get("label!", ())),
        dangling=_boolean(filters.get("dangling", ())),
        before=min(before, default=None),
        since=max((created_at[value] for value in filters.get("since", ())), default=None),
    )


def parse_instant(text: str, now: datetime) -> datetime:
    """Return the instant that a Unix time, an RFC 3339 time or date, or a duration before now means."""
    try:
        if text.replace(".", "", 1).isdecimal():
            return datetime.fromtimestamp(float(text), UTC)
        if instant := configs.parse_time(text):
            return instant
        if "T" in text or text.count("-") == 2:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        return now - timedelta(seconds=units.parse_duration(text))
    except (ValueError, OverflowError, errors.Invalid):
        raise _invalid(f"{text[:50]!r} is neither a time nor a duration, such as 24h") from None


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None


def _has(labels: Mapping[str, str], name: str, value: str | None) -> bool:
    return name in labels and (value is None or labels[name] == value)


def _boolean(values: Sequence[str]) -> bool | None:
    meanings = {value.lower() in _TRUE for value in values}
    if any(value.lower() not in _TRUE | _FALSE for value in values) or len(meanings) > 1:
        raise _invalid("filter dangling takes true or false")
    return meanings.pop() if meanings else None


def _invalid(why: str) -> errors.Invalid:
    return errors.Invalid(why, reason="FILTER_INVALID")
