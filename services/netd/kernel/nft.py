"""nftables, through the system's libnftables: the only module that talks to it.

A context is bound for life to the network namespace of the thread that makes it, and holds its netlink socket open:
closing one after a transaction takes some 15 ms, which is nearly the whole price of running `nft`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
from typing import Any

from services.kit import errors

_LIBRARY = "libnftables.so.1"

_OUTPUT_JSON = 1 << 4
_OUTPUT_NUMERIC = 1 << 7 | 1 << 8 | 1 << 9  # protocols, priorities, symbols: the same on every machine
_ERROR_BYTES_MAX = 2000


class NftError(errors.Internal):
    """nftables refused a script. Nothing of it was done."""

    default_reason = "KERNEL_FAILED"


class TableGone(NftError):
    """The script is about something that is not there, or not as expected: somebody else changed the table."""


class Context:
    """A connection to the nftables of one namespace. One thread at a time may use it.

    Raises:
        errors.Unsupported: The library is not installed.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise errors.Unsupported("nftables cannot be opened: is the kernel module nf_tables there?")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Give the context back; whatever it applied stays."""
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def apply(self, script: str) -> None:
        """Run a script as one transaction: all of it or nothing.

        Raises:
            TableGone: An object that the script names is missing, or exists although it should not.
            NftError: Anything else.
        """
        self._run(script, 0)

    def list_table(self, family: str, name: str) -> dict[str, Any] | None:
        """Return a table as `nft -j list table` shows it, or None if there is none."""
        try:
            text = self._run(f"list table {family} {name}", _OUTPUT_JSON | _OUTPUT_NUMERIC)
        except TableGone:
            return None
        listing: dict[str, Any] = json.loads(text)
        return listing

    def list_chains(self) -> dict[str, Any]:
        """Return the chains of all tables as `nft -j list chains` shows them."""
        listing: dict[str, Any] = json.loads(self._run("list chains", _OUTPUT_JSON | _OUTPUT_NUMERIC))
        return listing

    def version(self) -> str:
        """Return the version of nftables."""
        answer = json.loads(self._run("list tables", _OUTPUT_JSON))
        return str(answer["nftables"][0]["metainfo"]["version"])

    def _run(self, script: str, flags: int) -> str:
        assert self._context is not None, "the context is closed"
        self._library.nft_ctx_output_set_flags(self._context, flags)
        failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        # Both buffers are emptied by reading them; what is not read would stand in front of the next answer.
        output = self._library.nft_ctx_get_output_buffer(self._context).decode(errors="replace")
        complaint = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        if not failed:
            return str(output)
        # The library says in words only what went wrong; they are strerror's.
        gone = any(os.strerror(code) in complaint for code in (errno.ENOENT, errno.EEXIST))
        kind = TableGone if gone else NftError
        raise kind(f"nftables: {complaint[:_ERROR_BYTES_MAX].strip()}")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise errors.Unsupported(
            f"{_LIBRARY} is missing: install the package libnftables1 ({error})", reason="LIBNFTABLES_MISSING"
        ) from None
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "nft_ctx_new": (pointer, [number]),
        "nft_ctx_free": (None, [pointer]),
        "nft_ctx_output_set_flags": (None, [pointer, ctypes.c_uint]),
        "nft_ctx_buffer_output": (ctypes.c_int, [pointer]),
        "nft_ctx_buffer_error": (ctypes.c_int, [pointer]),
        "nft_ctx_get_output_buffer": (text, [pointer]),
        "nft_ctx_get_error_buffer": (text, [pointer]),
        "nft_run_cmd_from_buffer": (ctypes.c_int, [pointer, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
