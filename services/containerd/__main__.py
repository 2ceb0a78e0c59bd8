"""python -m services.containerd"""

from __future__ import annotations

import sys

from services.kit import daemon_imports


def main() -> None:
    """Run the daemon until a signal ends it."""
    daemon_imports.lean()
    from services.containerd.config import ContainerdConfig
    from services.containerd.daemon import NAME, build
    from services.kit.daemon import run_daemon

    sys.exit(run_daemon(NAME, sys.argv[1:], ContainerdConfig, build))


if __name__ == "__main__":
    main()
