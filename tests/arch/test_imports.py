"""What may be imported where, beyond the contracts: sole users of a library, complete packages, light modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]

SOLE_IMPORTERS = {
    "random": "services.kit.system",
    "prometheus_client": "services.kit.metrics",
    "sqlite3": ("services.kit.sqlite", "services.*.records", "services.*.store"),
    # conmon is started with vfork from a thread that lives in a mount namespace of its own; a namespace is taken from a
    # process that runs.
    "subprocess": ("services.containerd.runtime.spawn", "services.kit.namespaces"),
}
"""Libraries and the places that know them; for everything else they stand behind an interface."""

ABSENT = ("marshal", "multiprocessing", "pickle", "shelve")
"""What runs code out of data, or forks a process that has threads."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "services", "cli", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_a_library_is_known_in_its_place_only(graph: grimp.ImportGraph, library: str) -> None:
    allowed = SOLE_IMPORTERS[library]
    places = {
        place
        for pattern in ((allowed,) if isinstance(allowed, str) else allowed)
        for place in (graph.find_matching_modules(pattern) if "*" in pattern else {pattern})
    }
    importers = graph.find_modules_that_directly_import(library) if library in graph.modules else set()
    strangers = {
        name for name in importers if not any(f"{name}.".startswith(f"{place}.") for place in places)
    }
    assert not strangers, f"only {sorted(places)} may import {library}"


def test_some_libraries_are_not_used(graph: grimp.ImportGraph) -> None:
    assert not set(ABSENT) & graph.modules


def test_every_package_is_one() -> None:
    """A directory without __init__.py is invisible to the contracts."""
    missing = {
        directory.relative_to(ROOT)
        for top in ("services", "cli")
        for module in (ROOT / top).rglob("*.py")
        for directory in [module.parent, *module.parent.parents]
        if directory.is_relative_to(ROOT / top) and not (directory / "__init__.py").exists()
    }
    assert not missing


def test_what_every_command_loads_is_light() -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "import services.kit.errors, services.kit.seams, services.kit.units\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {
        "asyncio",
        "logging",
        "grpc",
        "google",
        "json",
        "datetime",
        "dataclasses",
        "inspect",
        "pathlib",
        "socket",
    }
    assert not set(done.stdout.split()) & heavy
