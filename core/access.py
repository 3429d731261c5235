"""Who may read a file, by owner, group, mode and POSIX ACL; and how another file gets the same readers.

A process that may not give files away keeps its own, and names their readers in an ACL. What a filesystem does with
all this is asked of the file at the end, so that one without owners or modes (FAT, most SMB mounts) needs no case.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from functools import reduce
from itertools import starmap
from operator import and_, itemgetter, or_
from pathlib import Path
from typing import Any, Self

from dropscribe.core.errors import WithheldError
from dropscribe.core.open_folder import opened
from dropscribe.core.safe_open import regular

ACL = "system.posix_acl_access"
OWN_USER, USER, OWN_GROUP, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32  # tags of its entries
READ, READ_WRITE, ALL = 4, 6, 7
ROOT = 0
NO_ID = 0xFFFFFFFF  # of an entry that names nobody

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_NO_ACL = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})

MODE = 5  # fields of an `Access` before those with names
Named = tuple[tuple[int, int], ...]  # ids with their permissions


@dataclass(frozen=True, slots=True)
class Access:
    """Permissions are sums of 4 (read), 2 (write) and 1 (enter), with the ACL's mask applied."""

    uid: int
    gid: int
    owner: int
    group: int
    other: int
    users: Named = ()
    groups: Named = ()

    @classmethod
    def read(cls, stored: Mapping[str, Any] | Sequence[Any]) -> Self:
        """From JSON; earlier versions wrote an object, in the same order."""
        values = [*stored.values()] if isinstance(stored, Mapping) else stored
        return cls(*values[:MODE], *(tuple(map(tuple, named)) for named in values[MODE:]))

    def stored(self) -> list[Any]:
        """As JSON, from which `read` makes the same; those that are named, where there are any."""
        values = astuple(self)
        return [*values[:MODE], *(values[MODE:] if self.users or self.groups else ())]

    def having(self, *, mode: int | None = None, gid: int | None = None) -> Access:
        """The same with a mode of somebody's choice, which names nobody, and a group."""
        chosen = self if mode is None else _by_mode(self.uid, self.gid, mode)
        return chosen if gid is None else replace(chosen, gid=gid)

    def for_file(self, most: int = READ_WRITE) -> Access:
        """The same for a file: nobody has more than `most`, except its owner, who may write."""

        def of(named: Named) -> Named:
            """The same permissions, cut to `most`."""
            return tuple((one, permissions & most) for one, permissions in named)

        owner = (self.owner | 2) & READ_WRITE
        return Access(
            uid=self.uid,
            gid=self.gid,
            owner=owner,
            group=self.group & most,
            other=self.other & most,
            users=of(self.users),
            groups=of(self.groups),
        )

    def owned_by(self, uid: int, gid: int, own: int) -> Access:
        """What a file that belongs to these needs to have the same readers; a new owner has the permissions `own`."""
        users, groups = dict(self.users), dict(self.groups)
        changed = self
        if uid != self.uid:
            users = {**users, self.uid: self.owner}
            users.pop(uid, None)
            changed = replace(changed, owner=own)
        if gid != self.gid:
            mine = groups.pop(gid, self.group & self.other)  # who is in it had those of others, if not less
            groups[self.gid] = self.group
            changed = replace(changed, group=mine)
        return replace(changed, uid=uid, gid=gid, users=tuple(users.items()), groups=tuple(groups.items()))

    def without_names(self) -> Access:
        """What a mode alone can say of it, so that nobody may more."""
        least = reduce(and_, map(itemgetter(1), (*self.users, *self.groups)), ALL)
        return replace(self, group=self.group & least, other=self.other & least, users=(), groups=())

    def lets_read(self, uid: int, group: int) -> bool:
        """May this account read the file? Its groups are asked of the system; one unknown there is in `group` alone."""
        alone = {**dict(self.users), self.uid: self.owner, ROOT: READ}
        permissions = alone[uid] if uid in alone else self._of_groups(_groups_of(uid, group))
        return bool(permissions & READ)

    def _of_groups(self, groups: Collection[int]) -> int:
        """What an account in these groups may do that is not named itself."""
        mine = [given for gid, given in ((self.gid, self.group), *self.groups) if gid in groups]
        return reduce(or_, mine) if mine else self.other

    def exceeds(self, bound: Access) -> bool:
        """May somebody read this who may not read a file of `bound`? Both belong to the same account and group."""
        users, groups = dict(bound.users), dict(bound.groups)
        pairs = [(self.owner, bound.owner), (self.group, bound.group), (self.other, bound.other)]
        pairs += [(permissions, users.get(uid, bound.other)) for uid, permissions in self.users]
        pairs += [(permissions, groups.get(gid, bound.other)) for gid, permissions in self.groups]
        return any(permissions & ~most & READ for permissions, most in pairs)


def of(descriptor: int) -> Access:
    """That of an open file or folder. Raises OSError."""
    found = os.fstat(descriptor)
    acl = _acl_of(f"/proc/self/fd/{descriptor}")  # by this path also where it was opened as a place only
    return _parsed(found, acl) if acl else _by_mode(found.st_uid, found.st_gid, found.st_mode)


def others_may_write(place: Path, found: os.stat_result) -> bool:
    """May others than its owner write to the file or folder that was `found` at `place`? Raises OSError.

    The group that many systems make for one user counts as the user, unless an ACL names more people.
    """
    group_may = bool(found.st_mode & stat.S_IWGRP)  # or those whom an ACL names: then these bits are its mask
    by_group = group_may and (not _is_ours_alone(found.st_gid) or _acl_of(place) is not None)
    return by_group or bool(found.st_mode & stat.S_IWOTH)


def _is_ours_alone(group: int) -> bool:
    """Has it this user's name, and no other member? Whose first group it is besides would take a list of all users."""
    with suppress(KeyError):  # an account without an entry, as in containers
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
        return group == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}
    return False


def _acl_of(path: str | Path) -> bytes | None:
    """The POSIX ACL as Linux stores it; None where the file has none, or its filesystem knows none."""
    try:
        return os.getxattr(path, ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return None


def _by_mode(uid: int, gid: int, mode: int) -> Access:
    """Who may what by owner, group and mode alone."""
    return Access(
        uid=uid,
        gid=gid,
        owner=mode >> 6 & ALL,
        group=mode >> 3 & ALL,
        other=mode & ALL,
    )


def _parsed(found: os.stat_result, acl: bytes) -> Access:
    """What the entries of an ACL say; those of named accounts and groups only as far as the mask lets them."""
    entries = [*_ENTRY.iter_unpack(acl[len(_VERSION) :])]
    alone = {tag: permissions for tag, permissions, one in entries if tag not in {USER, GROUP}}
    mask = alone.get(MASK, ALL)

    def named(kind: int) -> Named:
        """The permissions of each named account or group, after the mask."""
        return tuple((one, permissions & mask) for tag, permissions, one in entries if tag == kind)

    classes = (alone[OWN_USER], alone[OWN_GROUP] & mask, alone[OTHER])
    return Access(found.st_uid, found.st_gid, *classes, named(USER), named(GROUP))


def withhold(refusal: WithheldError) -> None:
    """Have the file not be there. Raises the error."""
    raise refusal


Doubt = Callable[[WithheldError], object]  # is given what is wrong with the readers of a file


def give(descriptor: int, wanted: Access, *, own: int = READ_WRITE, doubt: Doubt = withhold) -> None:
    """Let an open file or folder of ours have the readers of `wanted`, its owner included.

    This process has the permissions `own` where it cannot give it away. Raises OSError, and WithheldError where the
    owner could not read it, or more people could; `doubt` may take that error and let the file be.
    """
    _give_away(descriptor, wanted)
    there = os.fstat(descriptor)
    exact = wanted.owned_by(there.st_uid, there.st_gid, own)
    if not _set(descriptor, exact):
        exact = exact.without_names()
        _set(descriptor, exact)
    given = of(descriptor)
    if given.exceeds(exact):
        more = "more people could read it there than can read its recording"
        doubt(WithheldError(more, remedy="see docs/security.md"))
    if wanted.owner & READ and not given.lets_read(wanted.uid, wanted.gid):
        refusal = WithheldError(
            f"account {wanted.uid}, which owns its recording, could not read it there",
            remedy="run dropscribe as root, or put both into a group that may read the recording",
        )
        doubt(refusal)


def follow_folder(path: Path) -> None:
    """Let a file of ours have the readers and the group of its folder, as far as the filesystem can. Raises OSError."""
    with regular(path) as file, opened(path.parent) as folder:
        give(file, of(folder).for_file(READ), doubt=lambda _: None)


def _give_away(descriptor: int, wanted: Access) -> None:
    """As far as this process may, and the filesystem knows owners."""
    there = os.fstat(descriptor)
    for uid, gid in ((wanted.uid, wanted.gid), (there.st_uid, wanted.gid)):
        if (uid, gid) == (there.st_uid, there.st_gid):
            return
        with suppress(OSError):
            os.fchown(descriptor, uid, gid)
            return


def _set(descriptor: int, access: Access) -> bool:
    """False where that takes an ACL and the filesystem has none; the file may then be read by its owner alone."""
    try:
        os.setxattr(descriptor, ACL, _acl(access))  # which keeps what a folder inherits (setgid), and replaces its ACL
    except OSError:
        if access.users or access.groups:
            return False
        _set_mode(descriptor, access.owner << 6 | access.group << 3 | access.other)
    return True


def _set_mode(descriptor: int, permissions: int) -> None:
    """Set them, and keep what a folder inherits (setgid); where a service may not set that, it goes.

    FAT refuses modes; what it has is looked at afterwards.
    """
    found = stat.S_IMODE(os.fstat(descriptor).st_mode)
    for mode in (permissions | found & stat.S_ISGID, permissions):
        if mode == found:
            return
        with suppress(OSError):
            os.fchmod(descriptor, mode)
            return


def _acl(access: Access) -> bytes:
    """In the order that the kernel demands."""
    named = [*access.users, *access.groups]
    mask = reduce(or_, map(itemgetter(1), named), access.group)
    entries = [
        (OWN_USER, access.owner, NO_ID),
        *((USER, permissions, uid) for uid, permissions in sorted(access.users)),
        (OWN_GROUP, access.group, NO_ID),
        *((GROUP, permissions, gid) for gid, permissions in sorted(access.groups)),
        *([(MASK, mask, NO_ID)] if named else []),
        (OTHER, access.other, NO_ID),
    ]
    return _VERSION + b"".join(starmap(_ENTRY.pack, entries))


def _groups_of(uid: int, group: int) -> frozenset[int]:
    """The groups of an account; `group` of one that this machine does not know, as of NFS 4, ZFS, or in a container."""
    with suppress(KeyError):
        account = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(account.pw_name, account.pw_gid))
    return frozenset({group})
