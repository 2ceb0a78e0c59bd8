"""Docker's way of writing flags, translated to click's. Pure.

What Go's flag package takes and click does not: a value given to a switch (`--rm=true`, `-t=false`), one that an equals
sign joins to a letter (`-m=64m`), and names that are only kept for old scripts (`--net`). Values of options and what
follows the first argument of a command that runs something are never touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_TAKEN_BACK = "\0"
"""Stands for an option that a later one takes back; no argument can hold it."""


class Switch(NamedTuple):
    """An option without a value."""

    on: str
    """How click turns it on."""
    off: str
    """How click turns it off; empty if it is off unless turned on."""


class FlagError(ValueError):
    """A switch was given a value that says neither yes nor no."""


def normalise(
    arguments: Sequence[str],
    switches: Mapping[str, Switch],
    aliases: Mapping[str, str],
    *,
    interspersed: bool,
) -> list[str]:
    """Return the arguments as click takes them.

    Args:
        arguments: As typed, behind the command's name.
        switches: By each of their names, "--rm" and "-t".
        aliases: Old names of options, to the new ones.
        interspersed: Whether options may follow arguments.

    Raises:
        FlagError: Neither yes nor no.
    """
    result: list[str] = []
    typed: list[int] = []  # where options stand in the result, to be told from the values of others
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument == "--" or (not interspersed and not _is_option(argument)):
            return [*_kept(result), argument, *arguments[position:]]
        if not _is_option(argument):
            result.append(argument)
            continue
        name, separator, value = argument.partition("=")
        name = aliases.get(name, name)
        typed.append(len(result))
        if name in switches:
            found = _switched(name, switches[name], value) if separator else [name]
            if not found:
                typed.pop()
                for index in typed:
                    result[index] = _without(result[index], switches[name], switches)
            result += found
        elif argument.startswith("--"):
            result.append(f"{name}{separator}{value}")
            if not separator:
                result += arguments[position : position + 1]
                position += 1
        else:
            cluster, takes_next = _cluster(argument, switches)
            result += cluster
            if takes_next:
                result += arguments[position : position + 1]
                position += 1
    return _kept(result)


def _kept(result: Sequence[str]) -> list[str]:
    return [argument for argument in result if argument != _TAKEN_BACK]


def _without(option: str, switch: Switch, switches: Mapping[str, Switch]) -> str:
    """Take a switch out of an option or a cluster of them: the last word on it is no."""
    if option in switches:
        return _TAKEN_BACK if switches[option] == switch else option
    if option.startswith("--") or any(f"-{letter}" not in switches for letter in option[1:]):
        return option
    left = "".join(letter for letter in option[1:] if switches[f"-{letter}"] != switch)
    return f"-{left}" if left else _TAKEN_BACK


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and argument != "-"


def _switched(name: str, switch: Switch, value: str) -> list[str]:
    if value in _TRUE:
        return [switch.on]
    if value in _FALSE:
        return [switch.off] if switch.off else []
    raise FlagError(f"{name}={value}: give true or false")


def _cluster(argument: str, switches: Mapping[str, Switch]) -> tuple[list[str], bool]:
    """Take "-it", "-p80:80", "-p=80:80" or "-dt=false" apart.

    Returns what click gets, and whether the next argument is a value of it.
    """
    for index, letter in enumerate(argument[1:], start=1):
        name, rest = f"-{letter}", argument[index + 1 :]
        if name not in switches:
            if rest.startswith("=") and rest != "=":
                rest = rest[1:]
            return [argument[: index + 1] + rest], not rest
        if rest.startswith("="):
            head = [argument[:index]] if index > 1 else []
            return head + _switched(name, switches[name], rest[1:]), False
    return [argument], False
