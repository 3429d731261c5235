"""Whether all readers of a page may list a folder: by owner, group, mode and ACL, worked out without files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from dropscribe.core.access import READ, Access
from dropscribe.core.readers import MAX_GROUPS, Permission, all_have

DROPSCRIBE, ADA, BOB = 500, 1000, 1001
STAFF, BOARD = 50, 60
LIST = 5  # read and enter


def access(mode: int, uid: int = DROPSCRIBE, gid: int = STAFF, **names: tuple[tuple[int, int], ...]) -> Access:
    return Access(uid, gid, mode >> 6 & 7, mode >> 3 & 7, mode & 7, **names)


@pytest.mark.parametrize("names", [{}, {"users": ((BOB, 4),)}, {"users": ((BOB, 4),), "groups": ((STAFF, 5),)}])
def test_permissions_come_back_from_json_of_this_version_and_of_earlier_ones(
    names: dict[str, tuple[tuple[int, int], ...]],
) -> None:
    given = access(0o750, **names)
    for stored in (given.stored(), asdict(given)):
        assert Access.read(json.loads(json.dumps(stored))) == given


def lists(root: Access, folder: Access) -> bool:
    """May all readers of the page in the root, which is written for those of the root, list the folder?"""
    page = (Permission(root, 1), Permission(root.for_file(READ), READ))
    return all_have(page, Permission(folder, LIST))


OPEN = access(0o755)


@pytest.mark.parametrize(
    ("root", "folder", "listed"),
    [
        (OPEN, OPEN, True),
        (OPEN, access(0o750), False),
        (OPEN, access(0o711), False),
        (OPEN, access(0o744), False),
        (OPEN, access(0o755, ADA, BOARD), True),
        (OPEN, access(0o705), False),  # its group may less than others
        (access(0o750), access(0o750), True),
        (access(0o750), OPEN, True),
        (access(0o750), access(0o750, gid=BOARD), False),
        (access(0o750), access(0o755, gid=BOARD), True),
        (access(0o750), access(0o700), False),
        (access(0o750), access(0o750, uid=ADA), False),  # dropscribe itself reads the page, perhaps not in the group
        (access(0o700), access(0o700), True),
        (access(0o700), access(0o700, uid=ADA), False),
        (access(0o750, users=((BOB, 5),)), access(0o750), False),
        (access(0o750, users=((BOB, 5),)), access(0o750, users=((BOB, 5),)), True),
        (access(0o750, users=((BOB, 5),)), access(0o755, users=((BOB, 0),)), False),
        (OPEN, access(0o755, users=((BOB, 0),)), False),
        (OPEN, access(0o755, groups=((BOARD, 0),)), False),
        (access(0o750, groups=((BOARD, 5),)), access(0o750, groups=((BOARD, 5),)), True),
        (access(0o750, groups=((BOARD, 5),)), access(0o750), False),
    ],
)
def test_a_folder_is_named_if_everybody_who_can_read_the_page_may_list_it(
    root: Access, folder: Access, listed: bool
) -> None:
    assert lists(root, folder) is listed


def test_who_may_not_enter_the_folder_of_the_page_reads_no_page() -> None:
    assert lists(access(0o754), access(0o750))
    assert not lists(access(0o755), access(0o750))


def test_root_does_not_count() -> None:
    assert lists(access(0o700, uid=0, gid=0), access(0o700, uid=0, gid=0))
    assert lists(access(0o700, uid=0, gid=0), access(0o000, uid=0, gid=0))


def test_of_too_many_groups_nothing_is_said() -> None:
    many = replace(OPEN, groups=tuple((gid, 5) for gid in range(MAX_GROUPS + 1)))
    assert lists(OPEN, OPEN)
    assert not lists(many, many)
