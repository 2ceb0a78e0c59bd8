"""Limits of `run`, `create` and `update`: memory, processors, block devices, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import spec_pb2 as pb
from cli.specs import values
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Mapping

_WEIGHTS = (10, 1000)


def build(given: Mapping[str, Any]) -> pb.Resources:
    """Make the limits; options that are missing or zero set none.

    Raises:
        errors.Invalid: A value is malformed or out of range.
    """
    resources = pb.Resources(
        memory_bytes=size(given["memory"], "--memory"),
        memory_reservation_bytes=size(given["memory_reservation"], "--memory-reservation"),
        memory_swap_bytes=-1 if given["memory_swap"] == "-1" else size(given["memory_swap"], "--memory-swap"),
        oom_kill_disable=given["oom_kill_disable"],
        oom_score_adj=within(given["oom_score_adj"], "--oom-score-adj", -1000, 1000),
        nano_cpus=values.nano_cpus(given["cpus"], "--cpus") if given["cpus"] else 0,
        cpu_shares=within(given["cpu_shares"], "--cpu-shares", 0, values.UINT64_MAX),
        cpu_period_us=within(given["cpu_period"], "--cpu-period", 0, values.UINT64_MAX),
        cpu_quota_us=within(given["cpu_quota"], "--cpu-quota", -1, values.INT64_MAX),
        cpu_rt_period_us=within(given["cpu_rt_period"], "--cpu-rt-period", 0, values.UINT64_MAX),
        cpu_rt_runtime_us=within(given["cpu_rt_runtime"], "--cpu-rt-runtime", 0, values.INT64_MAX),
        cpuset_cpus=given["cpuset_cpus"],
        cpuset_mems=given["cpuset_mems"],
        pids_limit=within(given["pids_limit"], "--pids-limit", -1, values.INT64_MAX),
        blkio_weight=_weight(given["blkio_weight"] or 0, "--blkio-weight"),
        blkio_weight_device=[_device_weight(text) for text in given["blkio_weight_device"]],
        ulimits=[parse_ulimit(text) for text in given["ulimit"]],
        shm_bytes=size(given["shm_size"], "--shm-size"),
    )
    for field in ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops"):
        option = f"--{field.replace('_', '-')}"
        getattr(resources, field).extend(_device_rate(text, option) for text in given[field])
    swappiness = given["memory_swappiness"]
    if swappiness is not None and swappiness != -1:
        resources.memory_swappiness = within(swappiness, "--memory-swappiness", 0, 100)
    return resources


def size(text: str, option: str) -> int:
    """Read a size such as "512m"; nothing is 0.

    Raises:
        errors.Invalid: It is none.
    """
    if not text:
        return 0
    try:
        return units.parse_bytes(text)
    except errors.Invalid as exc:
        raise values.invalid(f"{option}: {exc.message}") from None


def within(value: int | None, option: str, least: int, most: int) -> int:
    """Return a number that must lie in a range; 0 if not given.

    Raises:
        errors.Invalid: It does not.
    """
    if value is not None and not least <= value <= most:
        raise values.invalid(f"{option} {value}: must be between {least} and {most}")
    return value or 0


def parse_ulimit(text: str) -> pb.Ulimit:
    """Read a --ulimit value: name=soft[:hard].

    Raises:
        errors.Invalid: It is malformed, or the soft limit is above the hard one.
    """
    name, separator, given = text.partition("=")
    if not name or not separator:
        raise values.invalid(f"--ulimit {text!r}: give NAME=SOFT[:HARD]")
    soft, separator, hard = given.partition(":")
    first = _ulimit_value(soft, text)
    second = _ulimit_value(hard, text) if separator else first
    if second != -1 and (first > second or first == -1):
        raise values.invalid(f"--ulimit {text!r}: the soft limit is above the hard limit")
    return pb.Ulimit(name=name, soft=first, hard=second)


def _ulimit_value(number: str, text: str) -> int:
    if number in ("-1", "unlimited"):
        return -1
    return values.whole(number, f"--ulimit {text!r}:", most=values.INT64_MAX)


def _weight(value: int, option: str) -> int:
    if value and not _WEIGHTS[0] <= value <= _WEIGHTS[1]:
        raise values.invalid(f"{option} {value}: must be 0, or between {_WEIGHTS[0]} and {_WEIGHTS[1]}")
    return value


def _device(text: str, option: str) -> tuple[str, str]:
    path, separator, value = text.partition(":")
    if not separator or not path.startswith("/dev/"):
        raise values.invalid(f"{option} {text!r}: give a device's path and a value, as in /dev/sda:1mb")
    return path, value


def _device_weight(text: str) -> pb.DeviceLimit:
    path, value = _device(text, "--blkio-weight-device")
    weight = values.whole(value, "--blkio-weight-device")
    return pb.DeviceLimit(path=path, value=_weight(weight, "--blkio-weight-device"))


def _device_rate(text: str, option: str) -> pb.DeviceLimit:
    path, value = _device(text, option)
    if option.endswith("bps"):
        return pb.DeviceLimit(path=path, value=size(value or "?", option))
    return pb.DeviceLimit(path=path, value=values.whole(value, option, most=values.UINT64_MAX))
