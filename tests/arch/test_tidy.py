"""Small rules that a machine keeps better than a reader."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
VAGUE_NAMES = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "misc.py", "shared.py"}
TEXT = {
    ".py",
    ".proto",
    ".md",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    ".service",
    ".socket",
    ".sh",
    ".ini",
    ".conf",
    "",
}
SIZE_BYTES_MAX = 512 * 1024

# Written in two halves, so that this file passes its own rules.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(ho" + r"me|Us" + r"ers)/\w+/|(?<![\w.])/ro" + r"ot/\w")
INDEX_ADDRESS = re.compile(r"--(extra-)?index-url|--find-links|--trusted-host|https?://")


def files() -> list[Path]:
    """Return what git tracks and is there; without git, everything outside of hidden and build folders."""
    if (ROOT / ".git").exists() and (git := shutil.which("git")):
        listed = subprocess.run(
            [git, "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        )
        candidates = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        hidden = (
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        )
        candidates = [path for path in hidden if "__pycache__" not in path.parts]
    return sorted(path for path in candidates if path.is_file() and not path.is_symlink())


FILES = files()
OWN_TEXT = [path for path in FILES if path.suffix in TEXT and "_pb2" not in path.name]


def lines(pattern: re.Pattern[str], paths: list[Path]) -> Iterator[str]:
    """Yield file:line of each line that the pattern is found in."""
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"


def test_no_file_is_named_for_nothing() -> None:
    assert not [path for path in FILES if path.name in VAGUE_NAMES]


def test_nothing_is_left_to_do() -> None:
    assert not list(lines(UNFINISHED, OWN_TEXT))


def test_no_path_of_a_machine() -> None:
    found = list(lines(MACHINE_PATH, OWN_TEXT))
    if len(ROOT.parts) > 2 and not ROOT.is_relative_to("/opt"):  # /opt is where the project is installed
        found += lines(re.compile(re.escape(str(ROOT)) + r"\b"), OWN_TEXT)
    assert not found


def test_requirements_name_no_index() -> None:
    assert not list(lines(INDEX_ADDRESS, [path for path in FILES if path.name.startswith("requirements")]))


def test_no_large_files() -> None:
    assert not [path for path in FILES if path.stat().st_size > SIZE_BYTES_MAX]


def test_text_ends_in_one_newline() -> None:
    assert not [
        path
        for path in OWN_TEXT
        if (data := path.read_bytes()) and (not data.endswith(b"\n") or data.endswith(b"\n\n"))
    ]


def modules() -> list[Path]:
    return [
        path
        for path in OWN_TEXT
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in {"services", "cli"}
    ]


def test_every_task_has_an_owner() -> None:
    """`create_task` is a TaskGroup's or the kit's; what ruff cannot see is a loop's method."""
    found = []
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        groups = {
            item.optional_vars.id
            for node in ast.walk(tree)
            if isinstance(node, ast.AsyncWith)
            for item in node.items
            if isinstance(item.optional_vars, ast.Name) and "TaskGroup" in ast.unparse(item.context_expr)
        } | {
            argument.arg
            for node in ast.walk(tree)
            if isinstance(node, ast.arg) and node.annotation and "TaskGroup" in ast.unparse(node.annotation)
            for argument in [node]
        }
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "create_task"
            and not (isinstance(node.func.value, ast.Name) and node.func.value.id in groups)
        ]
    assert found == [one for one in found if one.startswith("services/kit/tasks.py:")]


def test_only_programs_exit() -> None:
    """`__main__` modules, modules that run as one, and the daemon runner."""
    exits = re.compile(r"\bsys\.exit\(|\bos\._exit\(|raise SystemExit")
    runner = ROOT / "services" / "kit" / "daemon.py"
    libraries = [
        path
        for path in modules()
        if path.name != "__main__.py"
        and path != runner
        and '__name__ == "__main__"' not in path.read_text(encoding="utf-8")
    ]
    assert not list(lines(exits, libraries))


def test_every_module_says_what_it_is_about() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in modules()
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent
