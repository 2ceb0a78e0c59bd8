"""libseccomp through ctypes: a resolved profile to the BPF program that the kernel runs.

The only caller is `seccomp.filters`. Compiling takes 5 to 10 ms of CPU; the result depends on nothing but the profile
and the library's version.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.containerd.ocispec.facts import Section

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_ACT_ERRNO = 0x00050000
_ACT_TRACE = 0x7FF00000
_EPERM = 1
_COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_UNKNOWN_SYSCALL = -1
_EEXIST = 17
_PROGRAM_BYTES_MAX = 1 << 20


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


class _Argument(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_two", ctypes.c_uint64),
    )


class Library:
    """The loaded library."""

    def __init__(self, name: str = "libseccomp.so.2") -> None:
        """Load it.

        Raises:
            errors.Unsupported: It is not installed.
        """
        try:
            self._lib = ctypes.CDLL(name)
        except OSError as exc:
            raise errors.Unsupported(f"cannot load {name}: {exc}", reason="LIBSECCOMP_MISSING") from None
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._lib.seccomp_init.argtypes = [ctypes.c_uint32]
        self._lib.seccomp_release.argtypes = [ctypes.c_void_p]
        self._lib.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        self._lib.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self._lib.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.POINTER(_Argument),
        ]
        self._lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self._lib.seccomp_version.restype = ctypes.POINTER(_Version)

    @property
    def version(self) -> str:
        """For instance "2.5.4"."""
        version = self._lib.seccomp_version().contents
        return f"{version.major}.{version.minor}.{version.micro}"

    def compile(self, profile: Section) -> bytes:
        """Return the BPF program of a resolved profile.

        System calls that the library does not know are left to the default action, as the runtimes do.

        Raises:
            errors.Invalid: The profile names an unknown action, comparison or architecture.
            errors.Internal: The library refused a rule.
        """
        default = _action(str(profile["defaultAction"]), profile.get("defaultErrnoRet"))
        with self._context(default) as context:
            self._add_architectures(context, _strings(profile.get("architectures")))
            rules = profile["syscalls"]
            assert isinstance(rules, list)
            for rule in rules:
                self._add_rule(context, rule, default)
            return self._export(context)

    @contextlib.contextmanager
    def _context(self, default: int) -> Iterator[ctypes.c_void_p]:
        context = self._lib.seccomp_init(default)
        if not context:
            raise errors.Internal(
                "libseccomp refused the default action of the profile", reason="SECCOMP_FAILED"
            )
        try:
            yield ctypes.c_void_p(context)
        finally:
            self._lib.seccomp_release(ctypes.c_void_p(context))
            _trim()

    def _add_architectures(self, context: ctypes.c_void_p, names: list[str]) -> None:
        for name in names:
            token = self._lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if not token:
                raise errors.Invalid(f"seccomp: unknown architecture {name}", reason="SPEC_INVALID")
            code = self._lib.seccomp_arch_add(context, token)
            if code not in (0, -_EEXIST):
                raise errors.Internal(f"seccomp: cannot add architecture {name}: error {-code}")

    def _add_rule(self, context: ctypes.c_void_p, rule: Mapping[str, object], default: int) -> None:
        action = _action(str(rule["action"]), rule.get("errnoRet"))
        if action == default:
            return  # the library refuses such a rule as redundant
        arguments = _arguments(rule.get("args"))
        for name in _strings(rule["names"]):
            number = self._lib.seccomp_syscall_resolve_name(name.encode())
            if number == _UNKNOWN_SYSCALL:
                continue
            for group in _groups(arguments):
                code = self._lib.seccomp_rule_add_array(
                    context, action, number, len(group), (_Argument * len(group))(*group)
                )
                if code not in (0, -_EEXIST):
                    raise errors.Internal(f"seccomp: cannot add a rule for {name}: error {-code}")

    def _export(self, context: ctypes.c_void_p) -> bytes:
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            code = self._lib.seccomp_export_bpf(context, fd)
            if code:
                raise errors.Internal(f"seccomp: cannot export the filter: error {-code}")
            return os.pread(fd, _PROGRAM_BYTES_MAX, 0)
        finally:
            os.close(fd)


def _trim() -> None:
    """Give back to the kernel what compiling took: 2 MB, which would stay with the thread that has done it."""
    with contextlib.suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _groups(arguments: list[_Argument]) -> list[list[_Argument]]:
    """Split conditions as the runtimes do: several on one argument are alternatives, on different ones they add up."""
    indexes = [argument.index for argument in arguments]
    if len(set(indexes)) < len(indexes):
        return [[argument] for argument in arguments]
    return [arguments]


def _arguments(given: object) -> list[_Argument]:
    if not isinstance(given, list):
        return []
    arguments: list[_Argument] = []
    for entry in given:
        comparison = _COMPARISONS.get(str(entry["op"]))
        if comparison is None:
            raise errors.Invalid(f"seccomp: unknown comparison {entry['op']}", reason="SPEC_INVALID")
        arguments.append(
            _Argument(int(entry["index"]), comparison, int(entry["value"]), int(entry.get("valueTwo", 0)))
        )
    return arguments


def _action(name: str, errno: object) -> int:
    if name == "SCMP_ACT_ERRNO":
        return _ACT_ERRNO | (errno if isinstance(errno, int) else _EPERM)
    if name == "SCMP_ACT_TRACE":
        return _ACT_TRACE | (errno if isinstance(errno, int) else _EPERM)
    if name not in _ACTIONS:
        raise errors.Invalid(f"seccomp: unknown action {name}", reason="SPEC_INVALID")
    return _ACTIONS[name]


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
