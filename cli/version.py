"""The version of this program, read from the installed metadata when it is shown: that takes longer than a call."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    if name != "VERSION":
        raise AttributeError(name)
    from importlib import metadata

    try:
        return metadata.version("beeyard")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a checkout that was never installed
