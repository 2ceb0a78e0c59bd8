"""Modules that our libraries import and we rarely use: they are executed at the first use, not at the import.

For programs whose start is waited for. The standard library's `LazyLoader` does not serve here: the interpreter asks a
module for its `__spec__` at each further import, and that counts as a use.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any


class _Deferred(types.ModuleType):
    """Stands in for a module until somebody asks for a name that it does not have, then becomes that module."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # each `from … import` asks for it: no use of the module
            raise AttributeError(f"module {self.__name__!r} is no package")
        return getattr(_execute(self), name)


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
    sys.modules[name] = module


def load(name: str) -> Any:
    """Import a module and return it, executed."""
    module = importlib.import_module(name)
    return _execute(module) if isinstance(module, _Deferred) else module


def _execute(module: types.ModuleType) -> types.ModuleType:
    spec = module.__spec__
    assert spec is not None, f"{module.__name__} was deferred without a specification"
    assert spec.loader is not None, f"{module.__name__} was deferred without a loader"
    module.__class__ = types.ModuleType  # an ordinary module that is being imported
    spec.loader.exec_module(module)
    return module
