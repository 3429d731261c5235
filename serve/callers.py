"""Who asks: the operator on this machine, or the bearer of a token; and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from dropscribe.core.errors import ForbiddenError
from dropscribe.core.types import TokenRole

ROLES = tuple(TokenRole)  # each may do more than the one before


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a role, limited to `folders` (absolute paths); None: to none. The operator has no name.

    What they send by the protocols of others lies in the folder `requests` of the server's own, one for each token.
    """

    name: str
    role: TokenRole
    folders: tuple[str, ...] | None = None
    requests: str = "operator"

    @property
    def is_operator(self) -> bool:
        """Is it a process of the operator's own user on this machine, without a token?"""
        return not self.name

    @property
    def may_see_settings(self) -> bool:
        """Settings name hosts and folders of the whole fleet."""
        return self.role is TokenRole.ADMIN and self.folders is None

    def may(self, role: TokenRole) -> bool:
        """May they do what this role may?"""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: TokenRole) -> None:
        """Raise ForbiddenError for a caller who may do less than this role."""
        if not self.may(role):
            raise ForbiddenError(
                f"this needs the role {role}, and the token has {self.role}",
                remedy=f"ask the operator for a token of the role {role}",
            )

    def require_everywhere(self) -> None:
        """Raise ForbiddenError for a caller who is limited to folders, of what concerns the whole fleet."""
        if self.folders is not None:
            raise ForbiddenError(
                "this concerns all folders, and the token is limited to some",
                remedy="ask the operator for a token without --folder",
            )

    def sees(self, path: str) -> bool:
        """Does the file or folder at this absolute path lie in their folders, or is it one?"""
        return self.folders is None or any(is_below(path, folder) for folder in self.folders)


def is_below(path: str, folder: str) -> bool:
    """Is the path the folder, or below it?"""
    return f"{path}/".startswith(folder.rstrip("/") + "/")


OPERATOR = Caller("", TokenRole.ADMIN)
