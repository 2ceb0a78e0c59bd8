"""Ids as a container sees them and as the host does, in owners and in extended attributes."""

from __future__ import annotations

import struct

from services.kit.tar import ids

MAP = ids.of_range(100_000, 65_536)
CAPS = "security.capability"
ACL = "system.posix_acl_access"


def caps(revision: int, *root: int) -> bytes:
    return struct.pack(f"<{5 + len(root)}I", revision << 24 | 1, 0x400, 0, 0, 0, *root)


def acl(user: int, group: int) -> bytes:
    entries = ((1, 7, 0xFFFF_FFFF), (2, 6, user), (4, 5, 0xFFFF_FFFF), (8, 4, group), (32, 0, 0xFFFF_FFFF))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_owners() -> None:
    assert MAP.inside(100_000, 100_050) == (0, 50)
    assert MAP.inside(0, 165_536) == (65_534, 65_534)
    assert MAP.outside(0, 65_535) == (100_000, 165_535)
    assert MAP.outside(0, 65_536) is None
    assert ids.IDENTITY.inside(7, 8) == ids.IDENTITY.outside(7, 8) == (7, 8)


def test_capabilities_name_the_root_that_gave_them() -> None:
    assert MAP.xattr_outside(CAPS, caps(2)) == caps(3, 100_000)
    assert MAP.xattr_inside(CAPS, caps(3, 100_000)) == caps(2)
    assert MAP.xattr_inside(CAPS, caps(3, 101_000)) == caps(3, 1_000)
    assert MAP.xattr_outside(CAPS, caps(3, 1_000)) == caps(3, 101_000)
    assert MAP.xattr_inside(CAPS, caps(2)) == caps(2)
    for odd in (b"", b"short", caps(1)):
        assert MAP.xattr_outside(CAPS, odd) == MAP.xattr_inside(CAPS, odd) == odd


def test_access_control_lists_name_users_and_groups() -> None:
    assert MAP.xattr_outside(ACL, acl(1000, 50)) == acl(101_000, 100_050)
    assert MAP.xattr_inside(ACL, acl(101_000, 100_050)) == acl(1000, 50)
    assert MAP.xattr_inside(ACL, acl(5, 5)) == acl(65_534, 65_534)
    for odd in (b"", b"\2\0\0\0odd"):
        assert MAP.xattr_inside(ACL, odd) == odd


def test_other_attributes_and_no_mapping() -> None:
    assert MAP.xattr_inside("user.x", acl(101_000, 0)) == acl(101_000, 0)
    assert ids.IDENTITY.xattr_inside(ACL, acl(5, 5)) == acl(5, 5)
    assert ids.IDENTITY.xattr_outside(CAPS, caps(2)) == caps(2)
