"""Generate the Python modules beside the .proto files, or check that they are fresh.

    python protos/generate.py            write what has changed
    python protos/generate.py --check    exit 1 and name the files that are stale, missing or orphaned

The generated modules are checked in: a clone runs, tests and reads without a compiler. They come from the versions of
grpcio-tools and mypy-protobuf that the dev group pins; nobody edits them.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", "__init__.py")
TYPED_STUBS = "readable_stubs,quiet"


def main() -> int:
    """Run as a command; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    check = bool(parser.parse_args().check)
    sources = sorted(path.relative_to(ROOT) for path in ROOT.glob("beeyard/**/*.proto"))
    with tempfile.TemporaryDirectory(prefix="protos-") as fresh:
        if not generate(sources, Path(fresh)):
            return 1
        changes = compare(Path(fresh), ROOT)
        for path, change in sorted(changes.items()):
            print(f"{change}: {path}")
            if not check:
                apply(Path(fresh), path)
    if check and changes:
        print("the generated modules are not fresh: run `make protos`", file=sys.stderr)
        return 1
    return 0


def generate(sources: list[Path], target: Path) -> bool:
    """Compile `sources` into `target`, packages complete with their `__init__.py`; return whether it went well."""
    if not sources:
        return True
    plugins = Path(sys.executable).parent  # beside the interpreter: the environment need not be activated
    well_known = resources.files("grpc_tools") / "_proto"
    failed = protoc.main(
        [
            "protoc",
            f"-I{ROOT}",
            f"-I{well_known}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out={TYPED_STUBS}:{target}",
            f"--mypy_grpc_out=only_async,{TYPED_STUBS}:{target}",
            *map(str, sources),
        ]
    )
    for package in {parent for source in sources for parent in source.parents} - {Path()}:
        (target / package / "__init__.py").touch()
    return not failed


def compare(fresh: Path, present: Path) -> dict[Path, str]:
    """Return what differs between the generated files under two roots, by relative path."""
    changes: dict[Path, str] = {}
    expected = generated_under(fresh)
    for path in expected:
        if not (present / path).exists():
            changes[path] = "missing"
        elif not filecmp.cmp(fresh / path, present / path, shallow=False):
            changes[path] = "stale"
    for path in generated_under(present) - expected:
        changes[path] = "orphaned"
    return changes


def generated_under(root: Path) -> set[Path]:
    """Return the relative paths of all generated files under `root`."""
    return {path.relative_to(root) for pattern in GENERATED for path in root.glob(f"beeyard/**/{pattern}")}


def apply(fresh: Path, path: Path) -> None:
    """Make the checked-in file at the relative `path` what the fresh one is: same content, or gone."""
    if (fresh / path).exists():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_bytes((fresh / path).read_bytes())
    else:
        (ROOT / path).unlink()


if __name__ == "__main__":
    sys.exit(main())
