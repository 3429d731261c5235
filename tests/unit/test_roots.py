"""Filesystem kinds, the rules for roots, and the mount guard."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.errors import UsageError
from dropscribe.core.mounts import UNKNOWN, filesystem_kind, is_network
from dropscribe.scheduler.scanning.roots import (
    RootIdentity,
    RootOfflineError,
    check_roots,
    difference,
    identify,
    mass_disappearance,
    open_root,
)

# As after booting from an initial RAM disk: /proc stands before the root that it is mounted on.
TABLE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /mnt/nas rw,relatime shared:7 master:3 - nfs4 server:/export/audio rw,vers=4.2
41 40 0:41 / /mnt/nas/scratch rw - tmpfs tmpfs rw
42 27 0:42 / /mnt/my\\040share\\134x rw - cifs //server/share rw
43 27 0:43 / /media/cloud rw - fuse.rclone remote: rw
44 27 8:1 / /media/usb rw - vfat /dev/sdb1 rw
45 44 8:2 / /media/usb rw - exfat /dev/sdc1 rw
46 27 8:3 / /outer/inner rw - nfs server:/inner rw
47 27 8:4 / /outer rw - xfs /dev/sdd1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/audio", "ext4"),
        ("/proc/self", "proc"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/a/b", "nfs4"),
        ("/mnt/nas/scratch/a", "tmpfs"),
        ("/mnt/my share\\x/audio", "cifs"),
        ("/media/cloud/x", "fuse.rclone"),
    ],
)
def test_the_innermost_mount_decides(path: str, kind: str) -> None:
    assert filesystem_kind(PurePosixPath(path), TABLE) == kind


def test_a_mount_point_is_matched_by_whole_names() -> None:
    assert filesystem_kind(PurePosixPath("/mnt/nas2/audio"), TABLE) == "ext4"


def test_of_two_mounts_on_one_point_the_later_counts() -> None:
    assert filesystem_kind(PurePosixPath("/media/usb/x"), TABLE) == "exfat"


def test_a_later_mount_on_an_outer_directory_hides_the_inner_one() -> None:
    assert filesystem_kind(PurePosixPath("/outer/inner/x"), TABLE) == "xfs"


def test_without_a_mount_table_the_kind_is_unknown_and_counts_as_network() -> None:
    assert filesystem_kind(PurePosixPath("/srv"), "") == UNKNOWN
    assert is_network(UNKNOWN)


def test_a_root_filesystem_that_is_its_own_parent_ends_the_walk() -> None:
    assert filesystem_kind(PurePosixPath("/srv"), "1 1 0:1 / / rw - rootfs rootfs rw\n") == "rootfs"


@given(st.text())
def test_no_text_upsets_the_mount_table_parser(text: str) -> None:
    assert filesystem_kind(PurePosixPath("/srv/audio"), text + "\n" + TABLE)


@pytest.mark.parametrize(
    "kind",
    "nfs nfs4 cifs smb3 smbfs fuse.sshfs fuse.mergerfs fuse 9p ceph virtiofs afs glusterfs autofs new "
    "fuse.grpcfuse fakeowner osxfs".split(),  # the last: a folder of macOS or Windows in a container there
)
def test_network_and_unknown_kinds_are_polled(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind",
    "ext2 ext3 ext4 xfs btrfs zfs tmpfs overlay f2fs ntfs3 vfat exfat fuseblk apfs ramfs squashfs bcachefs".split(),
)
def test_disk_filesystems_are_local(kind: str) -> None:
    assert not is_network(kind)


def test_a_root_is_opened_absolute_and_without_symlinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "My Inbox!").mkdir()
    (tmp_path / "link").symlink_to("My Inbox!")
    monkeypatch.chdir(tmp_path)
    root = open_root(Path("link"))
    assert root.path == (tmp_path / "My Inbox!").resolve()
    assert root.name.startswith("My-Inbox-")
    assert root.is_network == is_network(root.filesystem)


def test_roots_of_the_same_name_get_different_slugs(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "inbox").mkdir(parents=True)
    assert open_root(tmp_path / "a/inbox").name != open_root(tmp_path / "b/inbox").name


def test_opening_what_is_no_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: it is not a directory"):
        open_root(tmp_path / "file")
    with pytest.raises(UsageError, match=r"gone: it does not exist"):
        open_root(tmp_path / "gone")


def test_separate_roots_pass(tmp_path: Path) -> None:
    check_roots([tmp_path / "a", tmp_path / "ab", tmp_path / "b"])


def test_nested_roots_are_refused_in_either_order_and_both_are_named(tmp_path: Path) -> None:
    outer, inner = tmp_path / "a", tmp_path / "a/b/c"
    for pair in ([outer, inner], [inner, outer]):
        with pytest.raises(UsageError) as caught:
            check_roots(pair)
        assert all(str(path) in str(caught.value) for path in pair)


def test_a_root_given_twice_is_refused_even_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(UsageError, match="same folder"):
        check_roots([tmp_path / "a", tmp_path / "link"])


def test_a_root_in_a_directory_of_our_own_is_refused_also_behind_a_link(tmp_path: Path) -> None:
    ours = tmp_path.resolve() / "home"
    (ours / "inbox").mkdir(parents=True)
    (tmp_path / "link").symlink_to(ours / "inbox")
    for path in (ours, ours / "inbox", tmp_path / "link"):
        with pytest.raises(UsageError, match=f"lies in {ours}, which is for dropscribe's own files"):
            check_roots([path], ours=[ours])
    check_roots([tmp_path], ours=[ours])


def test_an_untouched_root_is_online(tmp_path: Path) -> None:
    assert difference(identify(tmp_path), identify(tmp_path)) is None


def test_a_root_that_was_removed_is_offline(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.rmdir()
    with pytest.raises(RootOfflineError, match="it does not exist"):
        identify(root)
    root.touch()
    with pytest.raises(RootOfflineError, match="it is not a directory"):
        identify(root)


def test_what_is_missing_cannot_be_identified(tmp_path: Path) -> None:
    with pytest.raises(RootOfflineError, match="does not exist"):
        identify(tmp_path / "gone")


def test_another_source_under_the_path_is_offline(tmp_path: Path) -> None:
    identity = identify(tmp_path)
    if identity.mount is None:
        pytest.skip("this system has no mount table")
    elsewhere = replace(identity, mount=replace(identity.mount, kind="nfs", source="server:/export"))
    reason = difference(elsewhere, identity)
    assert reason is not None
    assert "another filesystem" in reason
    assert "nfs server:/export" in reason


def test_a_remounted_share_is_the_same_though_its_numbers_change(tmp_path: Path) -> None:
    now = identify(tmp_path)
    if now.mount is None:
        pytest.skip("this system has no mount table")
    then = RootIdentity(now.device + 1, replace(now.mount, id="4711"))
    same = now.mount.source_is_telling
    assert (difference(then, now) is None) == same


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_root_without_read_permission_is_offline(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(RootOfflineError, match="it may not be read by this user"):
            identify(tmp_path)
    finally:
        tmp_path.chmod(0o700)


MOUNTING = """
import subprocess, sys
from pathlib import Path
from dropscribe.scheduler.scanning.roots import came_over, difference, identify, open_root

root = Path(sys.argv[1])
before = identify(root)
subprocess.run(["mount", "-t", "tmpfs", "one", root], check=True)
during = identify(root)
print(difference(before, during))
print(came_over(before, during), came_over(during, before))
print(open_root(root).filesystem)
subprocess.run(["mount", "-t", "tmpfs", "one", root], check=True)
print(difference(during, identify(root)))
subprocess.run(["umount", root], check=True)
subprocess.run(["umount", root], check=True)
print(difference(before, identify(root)))
"""


def test_mounting_and_unmounting_over_a_root_is_noticed(tmp_path: Path) -> None:
    namespace = ["unshare", "--mount", "--map-root-user"]
    try:
        subprocess.run([*namespace, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make a mount namespace")
    command = [*namespace, sys.executable, "-c", MOUNTING, str(tmp_path)]
    repository = Path(__file__).parents[2]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=repository).stdout
    covered, over, kind, replaced, uncovered = printed.splitlines()
    assert covered.startswith("another filesystem is mounted there now (tmpfs one on ")
    assert over == "True False"
    assert kind == "tmpfs"
    assert replaced.startswith("another filesystem")
    assert uncovered == "None"


@pytest.mark.parametrize(
    ("known", "seen", "is_mass"),
    [(0, 0, False), (9, 0, False), (10, 5, False), (10, 4, True), (11, 5, True), (1000, 1000, False)],
)
def test_more_than_half_of_ten_or_more_gone_is_a_mass_disappearance(known: int, seen: int, is_mass: bool) -> None:
    assert mass_disappearance(known, seen) is is_mass
