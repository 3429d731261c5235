"""A network share that misbehaves on command: a FUSE filesystem over a backing folder, spoken straight to /dev/fuse.

Run as `python -m tests.faults.fuse BACKING MOUNT_POINT` by somebody who may mount. Each line on standard input is a
JSON object that changes how it answers; each is confirmed by a line on standard output, the number of those whom
it leaves hanging:

- `{"hang": PATH}`: nothing at or below PATH (relative, "" for all) is answered, as by an NFS server that is gone;
- `{"fail": PATH, "errno": N}`: everything at or below PATH fails;
- `{"fail_files": N}`: directories can be listed, but no file in them can be looked at;
- `{"fail_open": N}`: files can be listed, but not opened;
- `{"delay": SECONDS}`: each listing of a directory takes so long;
- `{"slow": SECONDS}`: each read of a file, at most 128 KiB, takes so long;
- `{"cached": SECONDS}`: how long the kernel may believe what it was told of a file; opening it asks again, as on NFS;
- `{"fold": true}`: names that differ in case only are the same, as on most Windows and macOS shares;
- `{"heal": true}`: all is well again, and what hung is answered.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import stat
import struct
import sys
import time
from dataclasses import dataclass, field

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
UNLINK, RENAME, CREATE = 10, 12, 35
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 38, 42
SILENT = {FORGET, BATCH_FORGET, INTERRUPT, DESTROY}
FREEING = {RELEASE, RELEASEDIR, FLUSH}
INVALIDATE_INODE = 2
LIFETIME = 240  # seconds


def mount(source: str, target: str) -> int:
    """Mount as root; returns the descriptor that is the filesystem's end of the line."""
    descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if libc.mount(source.encode(), os.fsencode(target), b"fuse.fault", 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount on {target}")
    return descriptor


@dataclass
class Filesystem:
    """Answers from `backing`; node 1 is its top."""

    backing: str
    descriptor: int
    paths: dict[int, str] = field(default_factory=lambda: {1: ""})
    nodes: dict[str, int] = field(default_factory=lambda: {"": 1})
    faults: dict[str, object] = field(default_factory=dict)
    held: list[bytes] = field(default_factory=list)

    def command(self, line: bytes) -> None:
        wanted = json.loads(line)
        if wanted.pop("heal", False):
            self.faults.clear()
            held, self.held = self.held, []
            for request in held:
                self.serve(request)
        self.faults |= wanted

    def serve(self, request: bytes) -> None:
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in SILENT:
            return
        body = request[40:]
        path = self.paths.get(node, "")
        if opcode == LOOKUP:
            path = self.named(path, body)
        if opcode != INIT and self.hit("hang", path):
            self.held.append(request)
            return
        try:
            answer, error = self.answer(opcode, path, body), 0
        except OSError as failed:
            answer, error = b"", failed.errno or errno.EIO
        self.reply(unique, error, answer)

    def named(self, folder: str, name: bytes) -> str:
        """The path of what a folder has under that name, spelled as it is there."""
        wanted = os.fsdecode(name.rstrip(bytes(1)))
        there = os.listdir(self.real(folder)) if self.faults.get("fold") else []
        known = wanted if wanted in there else next((one for one in there if one.lower() == wanted.lower()), wanted)
        return f"{folder}/{known}".lstrip("/")

    def change(self, opcode: int, path: str, body: bytes) -> bytes:
        """Creating a file, renaming and removing one."""
        if opcode == UNLINK:
            os.unlink(self.real(self.named(path, body)))
            return b""
        if opcode == RENAME:
            (folder,) = struct.unpack_from("<Q", body)
            before, after = body[8:].rstrip(bytes(1)).split(bytes(1))
            old, new = self.named(path, before), self.named(self.paths[folder], after)
            os.rename(self.real(old), self.real(new))
            self.nodes[new] = self.nodes.pop(old)
            self.paths[self.nodes[new]] = new
            return b""
        made = self.named(path, body[16:])
        open(self.real(made), "xb").close()
        return self.entry(made) + struct.pack("<QII", 0, 0, 0)

    def reply(self, unique: int, error: int, answer: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):  # the one who asked was killed meanwhile
            os.write(self.descriptor, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)

    def hit(self, fault: str, path: str) -> bool:
        where = self.faults.get(fault)
        return isinstance(where, str) and (not where or path == where or path.startswith(where + "/"))

    def answer(self, opcode: int, path: str, body: bytes) -> bytes:
        if opcode == INIT:
            major, minor, readahead = struct.unpack_from("<III", body)
            return struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), readahead, 0, 12, 9, 65536, 1, 0, 0, 0)
        if opcode in FREEING:
            return b""
        if opcode == STATFS:
            return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)
        if self.hit("fail", path):
            raise OSError(self.faults["errno"], "told to fail")
        if self.faults.get("fail_files") and opcode == LOOKUP:
            raise OSError(self.faults["fail_files"], "told to fail")
        if opcode in {UNLINK, RENAME, CREATE}:
            return self.change(opcode, path, body)
        if opcode == LOOKUP:
            return self.entry(path)
        if opcode == GETATTR:
            return struct.pack("<QII", self.cached, 0, 0) + self.attributes(path)
        if opcode == OPEN:
            return self.open(path)
        if opcode == OPENDIR:
            time.sleep(float(str(self.faults.get("delay", 0))))
            return struct.pack("<QII", 0, 0, 0)
        if opcode == READDIR:
            return self.listing(path, *struct.unpack_from("<QQI", body)[1:])
        if opcode == READ:
            time.sleep(float(str(self.faults.get("slow", 0))))
            offset, size = struct.unpack_from("<QI", body, 8)
            with open(self.real(path), "rb") as file:
                file.seek(offset)
                return file.read(size)
        raise OSError(errno.ENOSYS, "not needed here")

    def open(self, path: str) -> bytes:
        if refusal := self.faults.get("fail_open"):
            raise OSError(refusal, "told to fail")
        news = struct.pack("<Qqq", self.node(path), -1, 0)
        os.write(self.descriptor, struct.pack("<IiQ", 16 + len(news), INVALIDATE_INODE, 0) + news)
        return struct.pack("<QII", 0, 0, 0)

    def entry(self, path: str) -> bytes:
        attributes = self.attributes(path)
        return struct.pack("<QQQQII", self.node(path), 0, self.cached, self.cached, 0, 0) + attributes

    @property
    def cached(self) -> int:
        return int(str(self.faults.get("cached", 0)))

    def node(self, path: str) -> int:
        number = self.nodes.setdefault(path, len(self.nodes) + 1)
        self.paths[number] = path
        return number

    def real(self, path: str) -> str:
        return f"{self.backing}/{path}"

    def attributes(self, path: str) -> bytes:
        seen = os.lstat(self.real(path))
        moments = [seen.st_atime_ns, seen.st_mtime_ns, seen.st_ctime_ns]
        seconds, parts = zip(*(divmod(moment, 10**9) for moment in moments), strict=True)
        return struct.pack(
            "<QQQqqqIIIIIIIIII",
            *(self.node(path), seen.st_size, seen.st_blocks, *seconds, *parts),
            *(seen.st_mode, 1, seen.st_uid, seen.st_gid, 0, 4096, 0),
        )

    def listing(self, path: str, offset: int, size: int) -> bytes:
        found = b""
        for index, name in enumerate(sorted(os.listdir(self.real(path)))[offset:], offset + 1):
            inside = f"{path}/{name}".lstrip("/")
            kind = stat.S_IFMT(os.lstat(self.real(inside)).st_mode) >> 12
            raw = os.fsencode(name)
            entry = struct.pack("<QQII", self.node(inside), index, len(raw), kind) + raw
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found


def main(backing: str, mount_point: str) -> None:
    signal.alarm(LIFETIME)  # whatever becomes of the test, nothing on this machine hangs for longer
    filesystem = Filesystem(backing, mount("server:/share", mount_point))
    print("mounted", flush=True)
    while True:
        ready, _, _ = select.select([filesystem.descriptor, 0], [], [])
        if 0 in ready:
            line = sys.stdin.buffer.readline()
            if not line:
                return
            filesystem.command(line)
            print(len(filesystem.held), flush=True)
        if filesystem.descriptor in ready:
            try:
                filesystem.serve(os.read(filesystem.descriptor, 1 << 20))
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                raise


if __name__ == "__main__":
    main(*sys.argv[1:])
