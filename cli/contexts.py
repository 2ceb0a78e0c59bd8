"""Named targets, kept in files: contexts/NAME.json beside the certificates in contexts/NAME/.

`current-context` holds the name that `context use` chose. The context "default" is always there and is no file.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.target import DEFAULT_CONTEXT as DEFAULT
from cli.target import DEFAULT_HOST, Credentials, current_context, parse_host
from services.kit import errors

PEM_BYTES_MAX = 1 << 20
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]{1,63}")
_FILES = {"ca": "ca.pem", "certificate": "cert.pem", "key": "key.pem"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A named target."""

    name: str
    host: str
    description: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def credentials(self) -> Credentials | None:
        """Its client certificate, if it has one."""
        if not self.certificate:
            return None
        return Credentials(ca=self.ca, certificate=self.certificate, key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    """A client's certificate, its key, and whom it trusts."""

    ca: bytes
    certificate: bytes
    key: bytes


def load(directory: str, name: str) -> Context:
    """Read a context.

    Raises:
        errors.NotFound: CONTEXT_NOT_FOUND.
        errors.Invalid: The file is damaged.
    """
    if name == DEFAULT:
        return Context(name=name, host=DEFAULT_HOST, description="The daemons of this host")
    path = _file(directory, name)
    try:
        return Context(**{**json.loads(path.read_text()), "name": name})
    except FileNotFoundError:
        raise errors.NotFound(
            f"context {name!r} does not exist: see `swarmctl context ls`", reason="CONTEXT_NOT_FOUND"
        ) from None
    except (OSError, ValueError, TypeError) as exc:
        raise errors.Invalid(
            f"context {name!r}: {path} is damaged ({exc})", reason="CONTEXT_INVALID"
        ) from exc


def names(directory: str) -> list[str]:
    """Names of all contexts, the default one first."""
    found = sorted(
        path.stem for path in (Path(directory) / "contexts").glob("*.json") if _NAME.fullmatch(path.stem)
    )
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def use(directory: str, name: str) -> None:
    """Choose a context.

    Raises:
        errors.NotFound: CONTEXT_NOT_FOUND.
    """
    load(directory, name)
    with _reported(directory):
        Path(directory).mkdir(parents=True, exist_ok=True)
        _replace(Path(directory) / "current-context", f"{name}\n".encode())


def save(directory: str, context: Context, pem: Pem | None, *, replace: bool = False) -> None:
    """Keep a context, and its certificate in files that only the user can read.

    Raises:
        errors.Invalid: The name or the host is none, or a manager is to be reached without a certificate.
        errors.AlreadyExists: There is a context of that name, and `replace` is not set.
    """
    path = _file(directory, context.name)
    if parse_host(context.host, None).managers and pem is None and not context.certificate:
        raise errors.Invalid(
            f"context {context.name!r}: managers are reached with a client certificate: give --ca, --cert and --key",
            reason="CREDENTIALS_MISSING",
        )
    if path.exists() and not replace:
        raise errors.AlreadyExists(f"context {context.name!r} exists", reason="CONTEXT_EXISTS")
    values = asdict(context)
    with _reported(path):
        if pem is not None:
            folder = path.with_suffix("")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for field, file in _FILES.items():
                _replace(folder / file, getattr(pem, field))
                values[field] = os.fspath(folder / file)
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, (json.dumps(values, indent=2) + "\n").encode())


def remove(directory: str, name: str, *, force: bool) -> None:
    """Forget a context.

    Raises:
        errors.Invalid: It is the default one.
        errors.NotFound: CONTEXT_NOT_FOUND.
        errors.FailedPrecondition: It is in use, and `force` is not set.
    """
    if name == DEFAULT:
        raise errors.Invalid("the context default cannot be removed", reason="CONTEXT_NAME_INVALID")
    path = _file(directory, name)
    if not path.exists():
        raise errors.NotFound(f"context {name!r} does not exist", reason="CONTEXT_NOT_FOUND")
    if current_context(directory) == name:
        if not force:
            raise errors.FailedPrecondition(
                f"context {name!r} is in use: `swarmctl context use` another one, or give --force",
                reason="CONTEXT_IN_USE",
            )
        use(directory, DEFAULT)
    with _reported(path):
        path.unlink()
        import shutil

        shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def read_pem(ca: str, certificate: str, key: str) -> Pem | None:
    """Read a client certificate from files; None if none is named.

    Raises:
        errors.Invalid: One of the three is missing, or cannot be read.
    """
    if not any((ca, certificate, key)):
        return None
    if not all((ca, certificate, key)):
        raise errors.Invalid(
            "a client certificate is three files: ca, cert and key", reason="CREDENTIALS_MISSING"
        )
    found = {}
    for field, path in (("ca", ca), ("certificate", certificate), ("key", key)):
        with _reported(path):
            found[field] = Path(path).read_bytes()
        if b"-----BEGIN " not in found[field] or len(found[field]) > PEM_BYTES_MAX:
            raise errors.Invalid(f"{path} is no PEM file", reason="CREDENTIALS_MISSING")
    return Pem(**found)


def _file(directory: str, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise errors.Invalid(
            f"context name {name!r}: use letters, digits and _ . + -, beginning with a letter or digit,"
            " two at least",
            reason="CONTEXT_NAME_INVALID",
        )
    return Path(directory) / "contexts" / f"{name}.json"


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    temporary.rename(path)


class _reported:  # noqa: N801 (used as a statement)
    """Turn what the file system refuses into an error for people."""

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, exc: BaseException | None, _trace: object) -> None:
        if isinstance(exc, OSError):
            raise errors.Invalid(
                f"{exc.filename or self._path}: {exc.strerror or exc}", reason="FILE_FAILED"
            ) from exc
