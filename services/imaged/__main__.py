"""python -m services.imaged"""

from __future__ import annotations

import sys

from services.kit import daemon_imports


def main() -> None:
    """Run the daemon until a signal ends it."""
    daemon_imports.lean()
    from services.imaged.config import ImagedConfig
    from services.imaged.daemon import NAME, build
    from services.kit.daemon import run_daemon

    sys.exit(run_daemon(NAME, sys.argv[1:], ImagedConfig, build))


if __name__ == "__main__":
    main()
