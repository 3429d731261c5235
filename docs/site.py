"""Builds the documentation as a site that needs no server: `make site` writes build/site/html/index.html.

Zensical reads one folder, and the documents lie in several. So their tree is copied to build/site/pages as it is, with
the other files that they link to. Zensical follows every link.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = REPOSITORY / "build" / "site" / "pages"
HTML = REPOSITORY / "build" / "site" / "html"
DOCUMENTS = ("*.md", "docs/**/*.md", "deploy/*.md", "samples/**/*.md", "tests/tiny/*.md")
_LINK = re.compile(r"(\]\()(?!https?:)([^)#]+)")


def main() -> None:
    """Copy and build. A link to a page or an anchor that is not there ends it with status 1."""
    shutil.rmtree(PAGES.parent, ignore_errors=True)
    copy()
    build = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    if subprocess.run(build, check=False, cwd=REPOSITORY).returncode:
        sys.exit("the site is not complete: fix the links that are named above")
    print(f"wrote {HTML / 'index.html'}")


def copy() -> None:
    """The documents and what they link to, at the same places below PAGES."""
    for document in (path for pattern in DOCUMENTS for path in REPOSITORY.glob(pattern)):
        text = _LINK.sub(partial(_to_file, document.parent), document.read_text(encoding="utf-8"))
        _at_its_place(document).write_text(text, encoding="utf-8")
        for _, target in _LINK.findall(text):
            linked = (document.parent / target).resolve()
            if linked.suffix != ".md" and linked.is_file():
                shutil.copyfile(linked, _at_its_place(linked))


def _at_its_place(path: Path) -> Path:
    place = PAGES / path.relative_to(REPOSITORY)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _to_file(folder: Path, link: re.Match[str]) -> str:
    """A link to a folder leads to the page that describes it."""
    return f"{link[0].rstrip('/')}/README.md" if (folder / link[2]).is_dir() else link[0]


if __name__ == "__main__":
    main()
