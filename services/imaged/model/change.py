"""Changes to a run configuration, written as Dockerfile instructions: `--change` of import and commit.

CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR. Variables of the
configuration's own environment are replaced where the Dockerfile reference says so: not in CMD, ENTRYPOINT, HEALTHCHECK
and ONBUILD, whose text belongs to the shell of the container.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from services.imaged.model import words
from services.imaged.model.config import Healthcheck, RunConfig
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CHANGES_MAX = 1000
DEFAULT_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SIGNAL = re.compile(r"(?:SIG)?[A-Z]+[0-9]*(?:[+-][0-9]+)?|[0-9]{1,2}")
_NAMED = re.compile(
    r"ABRT|ALRM|BUS|CHLD|CONT|FPE|HUP|ILL|INT|IO|KILL|PIPE|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP|TSTP|TTIN"
    r"|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ"
)
_REALTIME = re.compile(r"RTM(?:IN(?:\+(?:[12]?[0-9]|30))?|AX(?:-(?:[12]?[0-9]|30))?)")
SIGNALS = 64
_HEALTH_FLAG = re.compile(r"--([a-z-]+)=(\S*)\s*")
_HEALTH_DURATIONS = {
    "interval": "interval_ms",
    "timeout": "timeout_ms",
    "start-period": "start_period_ms",
    "start-interval": "start_interval_ms",
}


def apply_all(run: RunConfig, changes: Sequence[str]) -> RunConfig:
    """Return the configuration after the instructions, in order; each string may hold several lines.

    As in a build, an ENTRYPOINT drops the command that it came with, unless one of the changes set it.

    Raises:
        errors.Invalid: With reason CHANGE_INVALID: an instruction is unknown or malformed; the message quotes it.
    """
    command_set = False
    for line in _lines(changes):
        name, _, rest = line.partition(" ")
        keyword, rest = name.upper(), rest.strip()
        apply = _INSTRUCTIONS.get(keyword)
        if apply is None:
            known = ", ".join(sorted(_INSTRUCTIONS))
            raise _invalid(line, f"{name[:50]!r} is not an instruction that can be applied here: use {known}")
        if not rest:
            raise _invalid(line, f"{keyword} needs an argument")
        run = apply(run, rest)
        if keyword == "ENTRYPOINT" and not command_set:
            run = replace(run, cmd=())
        command_set = command_set or keyword == "CMD"
    return run


def _lines(changes: Sequence[str]) -> Iterator[str]:
    """Yield the instructions: comments and blank lines dropped, lines that end in a backslash joined."""
    if len(changes) > CHANGES_MAX:
        raise errors.Invalid(f"more than {CHANGES_MAX} changes", reason="CHANGE_INVALID")
    pending = ""
    for raw in "\n".join(changes).split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        yield re.sub(r"\s", " ", (pending + line).strip(), count=1)
        pending = ""
    if pending.strip():
        yield pending.strip()


def _command(run: RunConfig, rest: str) -> RunConfig:
    return replace(run, cmd=_command_line(run, rest))


def _entrypoint(run: RunConfig, rest: str) -> RunConfig:
    return replace(run, entrypoint=_command_line(run, rest))


def _env(run: RunConfig, rest: str) -> RunConfig:
    env = _env_map(run)
    before = dict(env)  # all pairs of one instruction see the environment as it was before it
    env.update(_pairs(rest, before, "ENV"))
    return replace(run, env=tuple(f"{name}={value}" for name, value in env.items()))


def _expose(run: RunConfig, rest: str) -> RunConfig:
    ports = set(run.exposed_ports)
    for word in words.split_raw(rest):
        text = words.expand(word, _env_map(run))
        match = _PORT.fullmatch(text)
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else first
        if match is None or not 1 <= first <= last <= 65535:
            raise _invalid(f"EXPOSE {rest}", f"{text[:50]!r} is not a port, such as 80, 80/udp or 8000-8010")
        protocol = (match[3] or "tcp").lower()
        ports.update(f"{port}/{protocol}" for port in range(first, last + 1))
    return replace(run, exposed_ports=tuple(sorted(ports)))


def _healthcheck(run: RunConfig, rest: str) -> RunConfig:
    fields: dict[str, int] = {}
    position = 0
    while flag := _HEALTH_FLAG.match(rest, position):
        name, value = flag.groups()
        position = flag.end()
        if name in _HEALTH_DURATIONS:
            seconds = units.parse_duration(value)
            if 0 < seconds < 0.001 or seconds < 0:
                raise _invalid(f"HEALTHCHECK {rest}", f"--{name} must be at least 1ms")
            fields[_HEALTH_DURATIONS[name]] = round(seconds * 1000)
        elif name == "retries" and value.isascii() and value.isdigit() and len(value) <= 9:
            fields["retries"] = int(value)
        else:
            raise _invalid(f"HEALTHCHECK {rest}", f"--{name}={value[:50]} is not a valid option")
    kind, _, command = rest[position:].partition(" ")
    if kind.upper() == "NONE" and not command.strip():
        return replace(run, healthcheck=Healthcheck(test=("NONE",)))
    if kind.upper() != "CMD" or not command.strip():
        raise _invalid(f"HEALTHCHECK {rest}", "expected CMD and a command, or NONE")
    argv = _json_words(command.strip())
    test = ("CMD", *argv) if argv is not None else ("CMD-SHELL", command.strip())
    return replace(run, healthcheck=Healthcheck(test=test, **fields))


def _label(run: RunConfig, rest: str) -> RunConfig:
    return replace(run, labels={**run.labels, **_pairs(rest, _env_map(run), "LABEL")})


def _on_build(run: RunConfig, rest: str) -> RunConfig:
    keyword = rest.split(None, 1)[0].upper()
    if keyword in {"ONBUILD", "FROM", "MAINTAINER"}:
        raise _invalid(f"ONBUILD {rest}", f"{keyword} cannot be a trigger")
    return replace(run, on_build=(*run.on_build, rest))


def _is_signal(text: str) -> bool:
    """Return whether Linux has a signal of this name or number; if not, no container could be made of the image."""
    if _SIGNAL.fullmatch(text) is None:
        return False
    if text.isdecimal():
        return 1 <= int(text) <= SIGNALS
    name = text.removeprefix("SIG")
    return (_REALTIME.fullmatch(name) or _NAMED.fullmatch(name)) is not None


def _stop_signal(run: RunConfig, rest: str) -> RunConfig:
    signal = words.expand(rest, _env_map(run)).upper()
    if not _is_signal(signal):
        raise _invalid(f"STOPSIGNAL {rest}", "expected a signal, such as SIGQUIT or 3")
    return replace(run, stop_signal=signal)


def _user(run: RunConfig, rest: str) -> RunConfig:
    return replace(run, user=words.expand(rest, _env_map(run)))


def _volume(run: RunConfig, rest: str) -> RunConfig:
    listed = _json_words(rest)
    env = _env_map(run)
    paths = [words.expand(word, env) for word in (words.split_raw(rest) if listed is None else listed)]
    if not all(path.strip() for path in paths):
        raise _invalid(f"VOLUME {rest}", "a path is empty")
    return replace(run, volumes=tuple(sorted({*run.volumes, *paths})))


def _workdir(run: RunConfig, rest: str) -> RunConfig:
    path = posixpath.join("/", run.working_dir, words.expand(rest, _env_map(run)))
    return replace(run, working_dir=posixpath.normpath("/" + path.lstrip("/")))


_INSTRUCTIONS: Mapping[str, Callable[[RunConfig, str], RunConfig]] = {
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _command_line(run: RunConfig, rest: str) -> tuple[str, ...]:
    argv = _json_words(rest)
    return tuple(argv) if argv is not None else (*(run.shell or DEFAULT_SHELL), rest)


def _json_words(text: str) -> list[str] | None:
    """Return the words of the exec form, a JSON list of strings; None means the shell form."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and all(isinstance(word, str) for word in value) else None


def _pairs(rest: str, env: Mapping[str, str], keyword: str) -> dict[str, str]:
    """Return the pairs of `KEY=value …`, or the one of the old form `KEY value with blanks`."""
    raw = words.split_raw(rest)
    if "=" not in raw[0]:
        name, _, value = rest.partition(" ")
        if not value.strip():
            raise _invalid(f"{keyword} {rest}", "expected KEY=value")
        return {words.expand(name, env): words.expand(value.strip(), env)}
    pairs: dict[str, str] = {}
    for word in raw:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise _invalid(f"{keyword} {rest}", f"{word[:50]!r} is not of the form KEY=value")
        pairs[words.expand(name, env)] = words.expand(value, env)
    return pairs


def _env_map(run: RunConfig) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in run.env)}


def _invalid(line: str, why: str) -> errors.Invalid:
    return errors.Invalid(f"cannot apply {line[:200]!r}: {why}", reason="CHANGE_INVALID")
