"""`python -m services.containerd`."""

from __future__ import annotations

import sys

from services.containerd.config import ContainerdConfig
from services.containerd.daemon import NAME, build
from services.kit import daemon


def main() -> int:
    """Run the daemon."""
    return daemon.run_daemon(NAME, sys.argv[1:], ContainerdConfig, build)


if __name__ == "__main__":
    sys.exit(main())
