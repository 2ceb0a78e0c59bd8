"""The version of this program."""

from services.kit.version import VERSION

__all__ = ["VERSION"]
