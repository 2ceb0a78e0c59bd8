"""What `cp` puts where, by the rules of `docker cp`. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from cli.errors import invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is copied."""

    name: str
    """Base name; "." for the content of a directory."""
    is_directory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to: the path as given, and what is there, links followed."""

    path: str
    exists: bool
    is_directory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Unpack into `directory`, with `name` for the source's own name there."""

    directory: str
    name: str


def plan(source: Source, target: Target) -> Plan:
    """Decide.

    Raises:
        errors.Invalid: It cannot be done.
    """
    if target.is_directory:
        return Plan(directory=target.path, name=source.name)
    if target.exists and source.is_directory:
        raise invalid("cannot copy directory")
    if not target.exists and not source.is_directory and asks_for_directory(target.path):
        raise invalid("no such directory")
    parent, name = split(target.path)
    return Plan(directory=parent, name=name)


def parse(argument: str) -> tuple[str, str]:
    """Return container and path of an argument; the container is empty for a path of this machine.

    An absolute path, and one that begins with a dot, is this machine's whatever colons it has.
    """
    container, colon, path = argument.partition(":")
    if argument.startswith(("/", ".")) or not colon or not container:
        return "", argument
    return container, path


def asks_for_directory(path: str) -> bool:
    """Return whether a path says that a directory is meant."""
    return not path or path.endswith("/") or path.rpartition("/")[2] == "."


def split(path: str) -> tuple[str, str]:
    """Return directory and base name of a path, without its dots."""
    cleaned = posixpath.normpath(path or ".")
    return posixpath.dirname(cleaned) or ".", posixpath.basename(cleaned)


def followed(link: str, target: str) -> str:
    """Return the path that a link leads to."""
    return target if target.startswith("/") else posixpath.join(posixpath.dirname(link.rstrip("/")), target)
