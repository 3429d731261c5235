"""`dropscribe service`: has systemd start `up`, with the machine and after a crash; takes that back; says how it is."""

from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.local import systemd
from dropscribe.admin.local.systemd import Scope
from dropscribe.admin.local.up import Expected, as_named, examined, examined_buckets, only_one
from dropscribe.admin.terminal import render
from dropscribe.core import bucket_names
from dropscribe.core.errors import UsageError
from dropscribe.core.settings_loading import as_environment, load


def install(context: Context, folders: list[Path], *, for_user: bool, overrides: Mapping[str, Any]) -> None:
    """Write the unit for `up` over `folders` with the current settings, enable it, start it, and show it.

    Raises what `up` itself would refuse, before anything is written. A service that was there is replaced.
    """
    scope = _scope(for_user=for_user)
    user = getpass.getuser() if for_user else _behind_sudo()
    settings = load(overrides=overrides)
    local, buckets = bucket_names.apart(folders)
    examined(settings, local, Expected(awaited=True))
    examined_buckets(settings, buckets, Expected(awaited=True))
    _refuse_beside_up(scope, settings.home)
    unit = systemd.unit_text(scope, as_named(folders), user)
    variables = systemd.environment_text(as_environment(settings, overrides=overrides), folders)
    systemd.write(scope.settings, variables, 0o600)
    systemd.write(scope.unit, unit, 0o644)
    scope.start()
    context.out.print("\n".join(map(render.safe, unit.splitlines())), end="\n\n", soft_wrap=True)
    if not systemd.starts_at_boot(scope, user):
        remedy = f"to start it with the machine: sudo loginctl enable-linger {user}"
        context.note(f"it starts when {user} logs in; {remedy}")
    _tell(context, scope)


def uninstall(context: Context, *, for_user: bool) -> None:
    """Stop the service and remove it; the store and all transcripts stay. Raises UsageError where there is none."""
    scope = _installed(for_user=for_user)
    scope.systemctl("disable", "--now", systemd.UNIT)
    scope.unit.unlink(missing_ok=True)
    scope.settings.unlink(missing_ok=True)
    scope.systemctl("daemon-reload")
    context.out.print(f"removed {scope.unit}; recordings, transcripts and the store stay")


def status(context: Context, *, for_user: bool) -> int:
    """Show how the service is; returns 0 if it runs, else 1. Raises UsageError where there is none."""
    return int(not _tell(context, _installed(for_user=for_user)))


def _tell(context: Context, scope: Scope) -> bool:
    """Show how the service is; True if it runs."""
    found = scope.show()
    state = f"{found.get('ActiveState', 'unknown')} ({found.get('SubState', '')})"
    facts = {
        "unit": str(scope.unit),
        "settings": str(scope.settings),
        "state": f"{state} since {found['ActiveEnterTimestamp']}" if found.get("ActiveEnterTimestamp") else state,
        "last result": found.get("Result", ""),
        "at the start": found.get("UnitFileState", ""),
        "process": found.get("MainPID", ""),
        "restarts": found.get("NRestarts", ""),
        "log": " ".join(["journalctl", *scope.options, "--unit", systemd.UNIT]),
    }
    context.out.print(render.facts(facts.items()))
    return found.get("ActiveState") == "active"


def _scope(*, for_user: bool) -> Scope:
    """The systemd that the service belongs to."""
    return systemd.of_user() if for_user else systemd.of_machine()


def _installed(*, for_user: bool) -> Scope:
    """The scope, if the service is installed there."""
    scope, other = _scope(for_user=for_user), _scope(for_user=not for_user)
    if scope.unit.exists():
        return scope
    elsewhere = "leave out --user" if for_user else "add --user"
    remedy = elsewhere if other.unit.exists() else "`dropscribe service install FOLDER` installs it"
    raise UsageError(f"no service is installed for this {scope.name}", remedy=remedy)


def _behind_sudo() -> str:
    """The user for whom root asks, whose home then counts; else root itself."""
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    os.environ["HOME"] = pwd.getpwnam(user).pw_dir
    return user


def _refuse_beside_up(scope: Scope, home: Path) -> None:
    """Raise DropscribeError while an `up` that somebody started uses this home: the service could not start."""
    if not scope.is_active and (home / "up.lock").exists():  # which this would make, as the wrong user perhaps
        with only_one(home):
            pass
