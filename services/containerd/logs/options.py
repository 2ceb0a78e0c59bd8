"""Log drivers and their options (`--log-driver`, `--log-opt`). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors, units
from services.kit.pattern import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.containerd.model.spec import LogConfig

DRIVERS: Mapping[str, str] = {
    "": "k8s-file",
    "k8s-file": "k8s-file",
    "json-file": "k8s-file",
    "local": "k8s-file",
    "journald": "journald",
    "none": "none",
}
"""Docker's names to conmon's; the file drivers differ in nothing that a user sees."""

_KNOWN = frozenset(
    {
        "max-size",
        "max-file",
        "tag",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "mode",
        "max-buffer-size",
        "compress",
    }
)
FILES_MAX = 1000
_TAG_FIELD = re.compile(r"\{\{\s*\.([A-Za-z]+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    """What becomes of what a container writes."""

    driver: str = "k8s-file"
    size_bytes_max: int = 10 << 20
    """A file that has grown past this is rotated; 0 never."""
    files_max: int = 5
    """How many files are kept, the one that is being written included."""

    @property
    def in_files(self) -> bool:
        """Whether conmon writes it to files of the container."""
        return self.driver == "k8s-file"


def resolve(config: LogConfig, default: LogPolicy) -> LogPolicy:
    """Return the policy that a container's options ask for, defaults from the daemon's settings.

    Raises:
        errors.Invalid: An unknown driver or option, or a value that does not parse.
    """
    driver = DRIVERS.get(config.driver)
    if driver is None:
        names = ", ".join(sorted(name for name in DRIVERS if name))
        raise errors.Invalid(
            f"unknown log driver {config.driver!r}; there are {names}", reason="SPEC_INVALID"
        )
    unknown = sorted(config.options.keys() - _KNOWN)
    if unknown:
        raise errors.Invalid(f"unknown log option {unknown[0]!r}", reason="SPEC_INVALID")
    _check_patterns(config.options)
    _check_mode(config.options)
    size, files = default.size_bytes_max, default.files_max
    if "max-size" in config.options:
        text = config.options["max-size"]
        size = 0 if text in ("-1", "0") else units.parse_bytes(text)
    if "max-file" in config.options:
        text = config.options["max-file"]
        if not text.isdecimal() or not 1 <= int(text) <= FILES_MAX:
            raise errors.Invalid(f"max-file {text!r} is not between 1 and {FILES_MAX}", reason="SPEC_INVALID")
        files = int(text)
    return LogPolicy(driver=driver, size_bytes_max=size, files_max=files)


def details(
    options: Mapping[str, str],
    *,
    labels: Mapping[str, str],
    env: Mapping[str, str],
    tag_fields: Mapping[str, str],
) -> dict[str, str]:
    """Return what `logs --details` shows beside each line: the labels and variables that were chosen, and the tag."""
    chosen: dict[str, str] = {}
    for key, found in (("labels", labels), ("env", env)):
        names = set(filter(None, options.get(key, "").split(",")))
        pattern = options.get(f"{key}-regex", "")
        chosen |= {
            name: value
            for name, value in found.items()
            if name in names or (pattern and compiled(pattern).found_in(name))
        }
    if tag := options.get("tag", ""):
        chosen["tag"] = _TAG_FIELD.sub(lambda match: tag_fields.get(match[1], match[0]), tag)
    return chosen


def _check_mode(options: Mapping[str, str]) -> None:
    """Accept what needs no doing: what conmon writes waits for a disk alone, never for a driver behind it."""
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise errors.Invalid(
            f"log option mode: {mode!r} is not blocking or non-blocking", reason="SPEC_INVALID"
        )
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise errors.Invalid(
                "log option max-buffer-size goes with mode=non-blocking", reason="SPEC_INVALID"
            )
        units.parse_bytes(options["max-buffer-size"])


def _check_patterns(options: Mapping[str, str]) -> None:
    for key in ("labels-regex", "env-regex"):
        try:
            compiled(options.get(key, ""))
        except errors.Invalid as exc:
            raise errors.Invalid(f"log option {key}: {exc.message}", reason="SPEC_INVALID") from None
