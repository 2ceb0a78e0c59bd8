"""Wheels for an installation without a network: the dependencies as the checkout has them, the product freshly built.

The dependencies are the very files that every other test runs with, packed again as their RECORD lists them; pip makes
the scripts anew. So nothing is downloaded, and what is installed is what was tested.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[3]


def make(directory: Path) -> None:
    """Fill `directory` with a wheel of the product and of each pinned requirement."""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if pinned := re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line):
            _pack(metadata.distribution(pinned[1]), pinned[2], directory)
    _build(directory)


def upgraded(directory: Path, version: str) -> Path:
    """Make the product's wheel claim another version, instead of the one in `directory`; return it."""
    (old,) = directory.glob("beeyard-*.whl")
    present = old.name.split("-")[1]
    new = directory / old.name.replace(present, version)
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".dist-info/METADATA"):
                data = data.replace(f"\nVersion: {present}\n".encode(), f"\nVersion: {version}\n".encode())
            if not name.endswith(".dist-info/RECORD"):
                target.writestr(name.replace(f"-{present}.", f"-{version}."), data)
        _finish(target, f"beeyard-{version}.dist-info")
    old.unlink()
    return new


def _build(directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--wheel-dir", directory, ROOT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"the product's wheel cannot be built:\n{done.stderr}"


def _pack(distribution: metadata.Distribution, version: str, directory: Path) -> None:
    assert distribution.version == version, f"{distribution.name}: run `make setup`, the pins have moved"
    files = [file for file in distribution.files or () if ".." not in file.parts]
    tags = re.findall(r"^Tag: (\S+)$", distribution.read_text("WHEEL") or "", re.MULTILINE)
    assert files and tags, f"{distribution.name} was not installed from a wheel"
    interpreters, abis, platforms = map(_compressed, zip(*(tag.split("-") for tag in tags), strict=True))
    stem = re.sub(r"[-_.]+", "_", distribution.name)
    (info,) = {file.parts[0] for file in files if file.parts[0].endswith(".dist-info")}
    with zipfile.ZipFile(directory / f"{stem}-{version}-{interpreters}-{abis}-{platforms}.whl", "w") as wheel:
        for file in files:
            made_by_pip = (
                file.name in {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"} and file.parts[0] == info
            )
            if not made_by_pip and file.suffix != ".pyc":
                wheel.write(file.locate(), str(file))
        _finish(wheel, info)


def _finish(wheel: zipfile.ZipFile, info: str) -> None:
    """Write the RECORD."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name in wheel.namelist():
        data = wheel.read(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow([f"{info}/RECORD", "", ""])
    wheel.writestr(f"{info}/RECORD", text.getvalue())


def _compressed(tags: tuple[str, ...]) -> str:
    """One part of several tags, as a file name has it."""
    return ".".join(dict.fromkeys(tags))
