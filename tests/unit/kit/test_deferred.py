"""Modules that are executed at the first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run(script: str) -> list[str]:
    """Run a script in a new process; return the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_a_deferred_module_is_executed_when_it_is_used_and_once() -> None:
    assert run(
        "from services.kit import deferred\n"
        "deferred.defer('colorsys')\n"
        "import colorsys\n"
        "print(type(colorsys).__name__, colorsys.__spec__.name)\n"
        "from colorsys import rgb_to_hsv\n"
        "print(type(colorsys).__name__, rgb_to_hsv(0, 0, 0), sys.modules['colorsys'] is colorsys)\n"
        "deferred.defer('colorsys')\n"
        "print(colorsys.rgb_to_hsv is rgb_to_hsv)"
    ) == ["_Deferred colorsys", "module (0.0, 0.0, 0) True", "True"]


def test_known_names_need_no_execution_and_give_way_to_it() -> None:
    assert run(
        "from services.kit import deferred\n"
        "deferred.defer('colorsys', rgb_to_hsv=max)\n"
        "import colorsys\n"
        "from colorsys import rgb_to_hsv\n"
        "print(rgb_to_hsv(1, 2, 3), type(colorsys).__name__)\n"
        "print(deferred.load('colorsys').rgb_to_hsv(0, 0, 0), colorsys.rgb_to_hsv(0, 0, 0))"
    ) == ["3 _Deferred", "(0.0, 0.0, 0) (0.0, 0.0, 0)"]


def test_a_submodule_is_found_by_its_parent() -> None:
    assert run(
        "from services.kit import deferred\n"
        "deferred.defer('xml.dom.minidom')\n"
        "from xml.dom import minidom\n"
        "print(type(minidom).__name__)\n"
        "print(minidom.parseString('<a/>').documentElement.tagName)"
    ) == ["_Deferred", "a"]


def test_a_deferred_package_still_has_its_modules() -> None:
    assert run(
        "from services.kit import deferred\n"
        "deferred.defer('wsgiref')\n"
        "import wsgiref.util\n"
        "print(wsgiref.util.guess_scheme({}))"
    ) == ["http"]


def test_what_is_not_there_is_missed_by_who_wants_it() -> None:
    assert run(
        "from services.kit import deferred\n"
        "deferred.defer('no_such_module')\n"
        "try:\n    import no_such_module\n"
        "except ModuleNotFoundError as exc: print(exc)"
    ) == ["No module named 'no_such_module'"]


def test_an_execution_that_failed_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "fickle.py").write_text("import os\nos.stat(os.environ['FICKLE'])\nvalue = 7\n")
    assert run(
        f"import os\nsys.path.insert(0, {str(tmp_path)!r})\nos.environ['FICKLE'] = '/no/such/file'\n"
        "from services.kit import deferred\n"
        "deferred.defer('fickle')\n"
        "import fickle\n"
        "try:\n    fickle.value\n"
        "except OSError as exc: print(type(exc).__name__)\n"
        "os.environ['FICKLE'] = '/'\n"
        "print(fickle.value)"
    ) == ["FileNotFoundError", "7"]


def test_threads_that_use_a_module_at_the_same_time_find_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ncount = 1\ntime.sleep(0.1)\nvalue = 7\n")
    assert run(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from services.kit import deferred\n"
        "deferred.defer('slow')\n"
        "import slow\n"
        "with ThreadPoolExecutor(4) as pool: print(*pool.map(lambda _: slow.value, range(4)))"
    ) == ["7 7 7 7"]


def test_a_name_that_is_not_there_yet_is_missed_during_the_execution(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("import second\nvalue = 7\n")
    (tmp_path / "second.py").write_text("import first\nfound = hasattr(first, 'value')\n")
    assert run(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from services.kit import deferred\n"
        "deferred.defer('first')\n"
        "import first\n"
        "print(first.value, first.second.found)"
    ) == ["7 False"]


def test_an_absent_module_is_there_again_afterwards() -> None:
    assert run(
        "from services.kit import deferred\n"
        "with deferred.absent('colorsys', 'sys'):\n"
        "    try:\n        import colorsys\n"
        "    except ImportError: print('absent')\n"
        "    import sys\n"
        "import colorsys\n"
        "print(colorsys.__name__, sys.__name__)"
    ) == ["absent", "colorsys sys"]
