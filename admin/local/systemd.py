"""systemd, as far as `up` needs it to start with the machine: the texts of a unit, and `systemctl`."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropscribe.core.atomic_write import write_new
from dropscribe.core.bucket_names import as_stored, is_in_bucket
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import DropscribeError, UsageError

UNIT = "dropscribe.service"
ETC = Path("/etc")
LINGER = Path("/var/lib/systemd/linger")  # has a file for each user whose services start with the machine
CALL_SECONDS = 90.0  # systemctl itself waits that long for a service that does not stop

# What a shell has, a service has not, and programs below `up` go by: where they are, which GPUs, which network.
CARRIED = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CARRIED_PREFIX = "HF_"  # Hugging Face: its cache, its mirror, its token
BUCKETS_PREFIX = "AWS_"  # of buckets: keys, profile, files, authorities

_TEXT = """\
# Written by `dropscribe service install`, which overwrites it.
[Unit]
Description=dropscribe: transcribes what is dropped into watched folders
{unit}
[Service]
Type=exec
{service}EnvironmentFile={settings}
ExecStart={command}
WorkingDirectory=-{directory}
Restart=on-failure
RestartSec=5
# A wrong command line or setting stays wrong.
RestartPreventExitStatus=2
# SIGTERM goes to `up` alone, which ends its processes in order; each gives its work back.
KillMode=mixed
TimeoutStopSec=60
# A process that takes too much memory is started again by `up`.
OOMPolicy=continue
NoNewPrivileges=yes
# For its own state; transcripts have the mode of their recordings.
UMask=0077
# What a user's systemd can do without privileges (docs/security.md).
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM

[Install]
WantedBy={target}
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """The systemd of the machine, or that of one user.

    `unit` and `settings` are the files of our service, `options` those of systemctl, `target` what starts it.
    """

    name: str
    unit: Path
    settings: Path
    options: tuple[str, ...]
    target: str

    def systemctl(self, *arguments: str) -> str:
        """What `systemctl` answers. Raises DropscribeError when it fails or there is none."""
        return _run("systemctl", *self.options, *arguments)

    def show(self) -> Mapping[str, str]:
        """What systemd knows of the service, by the names of its properties."""
        names = "LoadState,ActiveState,SubState,Result,UnitFileState,MainPID,NRestarts,ActiveEnterTimestamp"
        lines = self.systemctl("show", UNIT, f"--property={names}").splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def start(self) -> None:
        """Have the unit that was written started now, restarted if it runs, and whenever the scope starts."""
        self.systemctl("daemon-reload")
        self.systemctl("enable", UNIT)
        self.systemctl("restart", UNIT)

    @property
    def is_active(self) -> bool:
        """Does the service run?"""
        return self.show().get("ActiveState") in {"active", "activating", "reloading"}


def of_machine() -> Scope:
    """The systemd that starts with the machine."""
    folder = ETC / "systemd" / "system"
    return Scope(
        name="machine",
        unit=folder / UNIT,
        settings=ETC / "dropscribe" / "service.env",
        options=(),
        target="multi-user.target",
    )


def of_user() -> Scope:
    """The systemd of the user who asks."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    unit = folder / "systemd" / "user" / UNIT
    return Scope(
        name="user",
        unit=unit,
        settings=folder / "dropscribe" / "service.env",
        options=("--user",),
        target="default.target",
    )


def unit_text(scope: Scope, folders: Sequence[Path], user: str) -> str:
    """The unit that runs `up` over `folders`; that of the machine runs as `user`."""
    program = Path(sysconfig.get_path("scripts")) / "dropscribe"
    words = [
        _word(str(program)),
        "up",
        "--wait-for-folders",
        *(_word(as_stored(folder)).replace("$", "$$") for folder in folders),
    ]
    of_system = scope.name == "machine"
    return _TEXT.format(
        unit="After=network-online.target remote-fs.target\nWants=network-online.target\n" if of_system else "",
        service=f"User={user}\n" if of_system else "",
        settings=_specified(str(scope.settings)),
        command=" ".join(words),
        directory=_specified(str(Path.cwd())),
        target=scope.target,
    )


def environment_text(variables: Mapping[str, str], folders: Sequence[Path]) -> str:
    """The variables as systemd reads them from a file, and with them what this shell hands to programs.

    Credentials of buckets are among them where a bucket is one of the folders: nobody else may read the file.
    """
    prefixes = (CARRIED_PREFIX, BUCKETS_PREFIX) if any(map(is_in_bucket, folders)) else (CARRIED_PREFIX,)
    carried = {
        name: value for name, value in os.environ.items() if name.upper() in CARRIED or name.startswith(prefixes)
    }
    lines = [f"{name}={_value(value)}\n" for name, value in sorted({**carried, **variables}.items())]
    return "# Written by `dropscribe service install`, which overwrites it.\n" + "".join(lines)


def write(path: Path, text: str, mode: int) -> None:
    """Give a file of systemd this text. Raises UsageError for what is not UTF-8, DropscribeError when it cannot."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{error.object[error.start - 20 : error.end]!r} is not UTF-8, which systemd requires",
            remedy="rename it",
        ) from error
    beside = path.with_name(f".{path.name}.new")
    with explained(OSError, DropscribeError, f"cannot write {path}", remedy="with --user, no root is needed"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(beside, data, mode=mode)
        beside.replace(path)


def starts_at_boot(scope: Scope, user: str) -> bool:
    """Have the services of `user` start with the machine, not with the first login. False where that is refused."""
    if scope.name == "user" and not (LINGER / user).exists():
        try:
            _run("loginctl", "enable-linger", user)
        except DropscribeError:
            return False
    return True


def _specified(text: str) -> str:
    """Text in which systemd sees no specifiers.

    >>> _specified("100% sure")
    '100%% sure'
    """
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command line, quoted."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_specified(escaped)}"'


def _value(text: str) -> str:
    """A value in an environment file: in double quotes, as a shell has it."""
    for special in '\\"$`':
        text = text.replace(special, f"\\{special}")
    return f'"{text}"'


def _run(*command: str) -> str:
    """What a command prints. Raises DropscribeError where it fails, hangs, or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=True)  # noqa: S603
    except FileNotFoundError as error:
        raise DropscribeError(
            f"there is no systemd here ({command[0]} is not found)",
            remedy="start `dropscribe up` by the program that starts services on this machine",
        ) from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stderr or "").strip() or str(error)
        raise DropscribeError(f"{' '.join(command)} fails: {said}", remedy=_REMEDY) from error
    return done.stdout


_REMEDY = "see `journalctl -xe`; where systemd does not run, start `dropscribe up` in another way"
