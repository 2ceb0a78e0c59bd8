"""Modules that our libraries import and we rarely use: they are executed at the first use, not at the import.

For programs whose start is waited for, and for daemons whose memory counts. The standard library's `LazyLoader` does
not serve here: the interpreter asks a module for its `__spec__` at each further import, and that counts as a use.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from _thread import RLock  # `threading` has it from there, and takes 2 ms to import
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Deferred(types.ModuleType):
    """Stands in for a module until somebody asks for a name that it does not have, then becomes that module."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # each `from … import` asks for it: no use of the module
            raise AttributeError(f"module {self.__name__!r} is no package")
        return getattr(_execute(self, name), name)


_locks: dict[str, RLock] = {}
"""One for each module that was deferred: threads that use it at the same time wait for its execution."""
_executing: set[str] = set()


def defer(name: str, **known: Any) -> None:
    """Let `import name` do nothing until an attribute is used. A module that was imported already is left alone.

    Args:
        name: The module. Its parent package is imported now.
        known: Attributes that can be had without it; its own take their place once it is executed.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        return  # whoever needs it says so better
    module = _Deferred(name)
    module.__spec__ = spec
    module.__file__ = spec.origin
    module.__loader__ = spec.loader
    module.__package__ = spec.parent
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    vars(module).update(known)
    _locks[name] = RLock()
    sys.modules[name] = module


def load(name: str) -> Any:
    """Import a module and return it, executed."""
    module = importlib.import_module(name)
    return _execute(module) if isinstance(module, _Deferred) else module


@contextlib.contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let what is imported meanwhile find that modules do not exist, as they do not in some builds of the interpreter.

    For libraries that have a use for them which we have not. A module that was imported already is left alone.
    """
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None: the documented way to say so
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def _execute(module: types.ModuleType, wanted: str = "") -> types.ModuleType:
    name, spec = module.__name__, module.__spec__
    assert spec is not None, f"{name} was deferred without a specification"
    assert spec.loader is not None, f"{name} was deferred without a loader"
    with _locks[name]:
        if not isinstance(module, _Deferred):
            return module  # another thread was first
        if (
            name in _executing
        ):  # something that it imports looks at it: as with any module that is being imported
            raise AttributeError(f"partially initialized module {name!r} has no attribute {wanted!r}")
        _executing.add(name)
        try:
            spec.loader.exec_module(module)
        finally:
            _executing.discard(name)
        # Only now: an execution that fails, for want of file descriptors say, is tried again.
        module.__class__ = types.ModuleType  # type: ignore[assignment]
    return module
