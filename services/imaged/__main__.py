"""python -m services.imaged"""

from __future__ import annotations

import sys

from services.kit import deferred


def main() -> None:
    """Run the daemon until a signal ends it."""
    deferred.defer("google.protobuf.internal.python_message")  # 1.6 MB for an implementation that is not used
    from services.imaged.config import ImagedConfig
    from services.imaged.daemon import NAME, build
    from services.kit.daemon import run_daemon

    sys.exit(run_daemon(NAME, sys.argv[1:], ImagedConfig, build))


if __name__ == "__main__":
    main()
