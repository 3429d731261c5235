"""Pure: whether everybody who has some permissions also has others, by owner, group, mode and ACL.

Every kind of account is tried that these can tell apart: each that they name and a stranger, in any of the groups that
they name. Root may do everything, and is not asked about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, combinations, product, starmap
from operator import attrgetter

from dropscribe.core.access import NO_ID, ROOT, Access

MAX_GROUPS = 8  # of more, which make thousands of kinds of accounts, nothing is said


@dataclass(frozen=True, slots=True)
class Permission:
    """Permissions (a sum of 4 to read, 2 to write and 1 to enter) on a file or folder that has this access."""

    access: Access
    wanted: int

    def has(self, uid: int, groups: Collection[int]) -> bool:
        """Does an account in these groups have all of them? POSIX asks the first class that fits, as acl(5) says."""
        access = self.access
        named = {**dict(access.users), access.uid: access.owner}
        if uid in named:
            return self._is_in(named[uid])
        mine = [given for gid, given in ((access.gid, access.group), *access.groups) if gid in groups]
        return any(map(self._is_in, mine or [access.other]))

    def _is_in(self, given: int) -> bool:
        """Do the permissions that are given include the wanted ones?"""
        return given & self.wanted == self.wanted

    @property
    def uids(self) -> set[int]:
        """The accounts that it tells apart from others."""
        return {self.access.uid, *dict(self.access.users)}

    @property
    def gids(self) -> set[int]:
        """The groups that it tells apart from others."""
        return {self.access.gid, *dict(self.access.groups)}


@lru_cache(1024)  # of the folders of a share, most have the same
def all_have(those: tuple[Permission, ...], also: Permission) -> bool:
    """Does everybody who has all of `those` permissions have this one too? False also where that is not known.

    A page with mode 0644 in a folder with mode 0755, and a folder with mode 0750: who is in none of its groups reads
    the page and may not list the folder.
    """
    gids = also.gids.union(*map(attrgetter("gids"), those))
    if len(gids) > MAX_GROUPS:
        return False
    uids = also.uids.union({NO_ID}, *map(attrgetter("uids"), those)) - {ROOT}
    who = [account for account in product(uids, _subsets([*gids])) if all(one.has(*account) for one in those)]
    return all(starmap(also.has, who))


def _subsets(gids: Sequence[int]) -> Iterator[Collection[int]]:
    """Every choice of some of these groups, from none to all.

    >>> [sorted(one) for one in _subsets([1, 2])]
    [[], [1], [2], [1, 2]]
    """
    return map(set, chain.from_iterable(map(partial(combinations, gids), range(len(gids) + 1))))
