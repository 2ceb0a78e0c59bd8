"""python -m services.netd"""

from __future__ import annotations

import sys

from services.kit import daemon_imports


def main() -> None:
    """Run the daemon until a signal ends it."""
    daemon_imports.lean()
    from services.kit.daemon import run_daemon
    from services.netd.config import NetdConfig
    from services.netd.daemon import NAME, build

    sys.exit(run_daemon(NAME, sys.argv[1:], NetdConfig, build))


if __name__ == "__main__":
    main()
