"""Write deploy/config/<daemon>.toml from the settings classes: every setting with its default and meaning."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "deploy" / "config"
DAEMONS = ("imaged", "netd", "containerd", "swarmd")
WIDTH = 100


def meanings(module: str) -> dict[str, str]:
    """Return the strings that stand below the fields of a module's classes."""
    file = importlib.import_module(module).__file__
    assert file is not None
    found: dict[str, str] = {}
    for statement in ast.walk(ast.parse(Path(file).read_text())):
        if not isinstance(statement, ast.ClassDef):
            continue
        for field, text in zip(statement.body, statement.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def value(of: object) -> str:
    """Render a default as TOML."""
    if isinstance(of, Path):
        return json.dumps(str(of))
    if isinstance(of, dict):
        return "{ " + ", ".join(f"{key} = {value(item)}" for key, item in of.items()) + " }" if of else "{}"
    if isinstance(of, list | tuple):
        return "[" + ", ".join(value(item) for item in of) + "]"
    return json.dumps(of, ensure_ascii=False)


def render(daemon: str) -> str:
    """Render one daemon's sample."""
    from services.kit import config as configs

    module = importlib.import_module(f"services.{daemon}.config")
    kinds: list[Any] = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, configs.DaemonConfig)
        and kind is not configs.DaemonConfig
    ]
    defaults, texts = kinds[0](), {**meanings("services.kit.config"), **meanings(module.__name__)}
    lines = [f"# Settings of {daemon}. Each stands here with its default; restart {daemon} after a change."]
    for field in dataclasses.fields(defaults):
        lines.append("")
        lines += [f"## {line}" for line in textwrap.wrap(texts.get(field.name, ""), WIDTH)]
        lines.append(f"# {field.name} = {value(getattr(defaults, field.name))}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the samples, or with --check say whether they are as they would be written."""
    stale = []
    for daemon in DAEMONS:
        file = TARGET / f"{daemon}.toml"
        text = render(daemon)
        if "--check" in sys.argv[1:]:
            if not file.exists() or file.read_text() != text:
                stale.append(file.name)
        else:
            TARGET.mkdir(exist_ok=True)
            file.write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}: run make samples", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
