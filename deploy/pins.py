"""Write requirements.txt and requirements-dev.txt from what is installed: runtime closure apart from the tools."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTE = "Regenerate with `make pins`."


def key(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: list[str]) -> set[str]:
    """The named distributions and all they need here."""
    found: set[str] = set()
    queue = [key(name) for name in names]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        for requirement in metadata.requires(name) or []:
            if "extra ==" not in requirement:
                needed = key(re.split(r"[ ;<>=!~\[(]", requirement, maxsplit=1)[0])
                if any(key(item.metadata["Name"]) == needed for item in metadata.distributions()):
                    queue.append(needed)
    return found


def lines(names: set[str]) -> str:
    """Pins, sorted."""
    return "".join(f"{name}=={metadata.version(name)}\n" for name in sorted(names))


def main() -> None:
    """Write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = closure([re.split(r"[<>=]", item)[0] for item in project["project"]["dependencies"]])
    dev = closure([re.split(r"[<>=]", item)[0] for item in project["dependency-groups"]["dev"]]) - runtime
    (ROOT / "requirements.txt").write_text(f"# What the product runs with, pinned. {NOTE}\n{lines(runtime)}")
    (ROOT / "requirements-dev.txt").write_text(
        f"# What building and testing need on top, pinned. {NOTE}\n-r requirements.txt\n{lines(dev)}"
    )


if __name__ == "__main__":
    main()
