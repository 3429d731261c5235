"""Documents and deployment files say what is so: commands, settings, files and tests that they name exist."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from dropscribe.admin.cli import main
from dropscribe.core.settings import fields, variable
from dropscribe.core.settings_file import CONFIG_VARIABLE
from dropscribe.core.settings_loading import in_files
from dropscribe.core.store_settings import PREFIX
from tests.documents import DOCUMENTS, REPOSITORY, blocks, inline, make_targets

DEPLOYED = sorted(path for path in (REPOSITORY / "deploy").iterdir() if path.is_file())
UNITS = [path for path in DEPLOYED if path.suffix == ".service"]
COMPOSE = REPOSITORY / "deploy" / "compose.yaml"
PACKAGES = ("core", "store", "scheduler", "worker", "models", "admin", "serve")
ENDS_A_COMMAND = {"|", "||", "&&", ";", ">"}


def names(group: Any, path: str) -> Iterator[str]:
    """What commands are called, those of groups too."""
    for one, command in group.commands.items():
        yield f"{path} {one}"
        if hasattr(command, "commands"):
            yield from names(command, f"{path} {one}")


NAMES = {*names(main.command(), "dropscribe"), "dropscribe COMMAND --help"}


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def all_documents(function):
    return pytest.mark.parametrize("document", DOCUMENTS, ids=name)(function)


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `dropscribe ...` in bash blocks and in backticks, but for mere names of commands there."""
    lines = [line for block in blocks(text) if block.language == "bash" for line in joined(block.body).splitlines()]
    spoken = [words for words in inline(text) if words not in NAMES]
    for line in [*lines, *spoken]:
        if line.startswith("dropscribe "):
            words = shlex.split(line, comments=True)[1:]
            end = next((index for index, word in enumerate(words) if word in ENDS_A_COMMAND), len(words))
            yield words[:end]


def joined(body: str) -> str:
    return body.replace("\\\n", " ")


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it. Raises UsageError of click for one that is wrong."""
    try:
        reached = main.command().make_context("dropscribe", list(arguments))
        while hasattr(reached.command, "commands"):
            name, command, rest = reached.command.resolve_command(reached, [*reached._protected_args, *reached.args])
            reached = command.make_context(name, rest, parent=reached)
    except typer.Exit:  # --help and --version have nothing more to say
        return


def variables(text: str) -> set[str]:
    return set(re.findall(PREFIX + r"[A-Z][A-Z0-9_]*", text))


def known_variables() -> set[str]:
    return {CONFIG_VARIABLE, *in_files().values()} | set(map(variable, fields()))


@all_documents
def test_every_command_line_in_the_documents_parses(document: Path) -> None:
    for arguments in commands(document.read_text(encoding="utf-8")):
        parse(arguments)


def test_a_wrong_command_line_would_be_noticed() -> None:
    group = (["models", "quantise"], ["models", "quantize", "a", "b"])
    for wrong in (["jobs", "--stat", "failed"], ["job"], ["worker", "--role", "gpu"], ["show"], *group):
        with pytest.raises(Exception, match=r"No such|Missing|Invalid|not one of"):
            parse(wrong)


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_every_unit_starts_a_command_that_parses(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/opt/dropscribe/bin/dropscribe (.*)$", unit.read_text(), re.MULTILINE)
    parse(shlex.split(line.replace("%i", "0")))


def test_every_service_of_the_compose_file_starts_a_command_that_parses() -> None:
    found = re.findall(r"command: \[((?:watch|worker).*)\]", COMPOSE.read_text())
    assert len(found) == 7
    for line in found:
        parse(shlex.split(line.replace(",", " ")))


def test_every_service_of_ours_is_checked_by_a_command_that_parses() -> None:
    found = re.findall(r"test: \[CMD, dropscribe, (.*)\]", COMPOSE.read_text())
    dockerfile = (REPOSITORY / "deploy" / "Dockerfile").read_text()
    (general,) = re.findall(r'^HEALTHCHECK .*CMD \["dropscribe", (.*)\]', dockerfile, re.MULTILINE)
    assert len(found) == 3
    for line in [*found, general]:
        parse(shlex.split(line.replace(",", " ")))


@pytest.mark.parametrize("path", [*DOCUMENTS, *DEPLOYED, REPOSITORY / "Makefile"], ids=name)
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    assert variables(path.read_text(encoding="utf-8")) <= known_variables()


def test_the_example_of_the_environment_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    from dropscribe.core.settings_loading import load

    text = (REPOSITORY / "deploy" / "dropscribe.env.example").read_text()
    given = dict(re.findall(rf"^#?({PREFIX}\w+)=(.*)$", text, re.MULTILINE))
    monkeypatch.chdir("/")  # away from a dropscribe.toml
    assert load(given).database_url == given["DROPSCRIBE_DATABASE_URL"]


@all_documents
def test_every_relative_link_leads_to_something(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        path = document.parent / target if target else document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_site_leads_to_every_page() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"^ +- .*: (\S+\.md)$", text, re.MULTILINE))
    assert all((REPOSITORY / path).is_file() for path in named)
    pages = {name(path) for path in DOCUMENTS if name(path.parent) in ("docs", "docs/operations", "deploy")}
    assert pages <= named, "name them in mkdocs.yml"


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs" / "operations").glob("*.md")), ids=name)
def test_every_symptom_is_in_the_index(page: Path) -> None:
    index = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    symptoms = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(
        f"(operations/{page.name}#{anchor}" in index for symptom in symptoms for anchor in anchors(f"## {symptom}")
    )


@pytest.mark.parametrize("template", ["bug", "transcript"])
def test_whoever_reports_a_problem_is_asked_what_the_doctor_says(template: str) -> None:
    form = yaml.safe_load((REPOSITORY / ".github" / "ISSUE_TEMPLATE" / f"{template}.yml").read_text(encoding="utf-8"))
    required = [one for one in form["body"] if one.get("validations", {}).get("required")]
    described = " ".join(one["attributes"].get("description", "") for one in required)
    assert "`dropscribe doctor --json`" in described
    everything = " ".join(one["attributes"].get("description", "") for one in form["body"])
    for arguments in commands(everything):
        parse(arguments)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_architecture_names_every_module_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {word for word in inline(text) if re.fullmatch(r"[\w/]+\.py", word)}
    modules = {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
        if not path.name.startswith("__") and path.parent.name != "versions"
    }
    assert not modules - named, "describe them in docs/architecture.md"
    assert not named - modules, "they are no more"


def test_the_picture_of_the_rooms_shows_every_room_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = next(block.body for block in blocks(text) if "core/ " in block.body)
    shown, parent = set(), ""
    for line in picture.splitlines():
        folder = line[: line.rindex("/", 0, line.index("/ ") + 1)]
        parent = parent if folder.startswith(" ") else folder
        shown.add(folder if folder == parent else f"{parent}/{folder.strip()}")
    migrations = REPOSITORY / "store" / "migrations"
    rooms = {
        str(file.parent.relative_to(REPOSITORY))
        for package in PACKAGES
        for file in (REPOSITORY / package).rglob("__init__.py")
        if not file.is_relative_to(migrations)
    }
    assert shown == rooms
    for room in sorted(rooms):  # a paragraph: what it is for, and what it may not touch
        said = ast.get_docstring(ast.parse((REPOSITORY / room / "__init__.py").read_text())) or ""
        assert "\n\n" in said, f"{room}/__init__.py does not say what the room may not touch"


@all_documents
def test_every_test_that_is_named_exists(document: Path) -> None:
    for path, function in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text(encoding="utf-8")):
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {function}\(", text, re.MULTILINE), f"{path}::{function}"


@all_documents
def test_every_make_target_and_measurement_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text()
    spoken = "\n".join([*(block.body for block in blocks(text)), *inline(text)])
    for target in make_targets(spoken):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in re.findall(r"python -m (bench\.\w+)", spoken):
        assert (REPOSITORY / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_make_up_hands_on_the_engine_and_the_checkpoint() -> None:
    ask = ["make", "--dry-run", "--silent", "up", "INBOX=/data", "MODEL=small"]
    for more, options in ([], "--model small"), (["ENGINE=whisper"], "--engine whisper --model small"):
        said = subprocess.run([*ask, *more], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        (command,) = re.findall(r"bin/dropscribe (up .*)$", said, re.MULTILINE)
        assert shlex.join(shlex.split(command)) == f"up /data {options}"
        parse(shlex.split(command))


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_systemd_takes_every_unit(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/dropscribe/bin/dropscribe", sys.executable))
    if (drop_ins := Path(f"{unit}.d")).is_dir():
        shutil.copytree(drop_ins, tmp_path / drop_ins.name)
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    # It also looks at the machine's own units; only what it says of ours counts.
    assert unit.name.partition("@")[0].partition(".")[0] not in verified.stderr, verified.stderr


def test_docker_takes_the_compose_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    example = (REPOSITORY / "deploy" / "compose.env.example").read_text()
    (tmp_path / ".env").write_text(example.replace("PASSWORD=\n", "PASSWORD=secret\n"))
    copy = shutil.copy(COMPOSE, tmp_path)
    command = [docker, "compose", "--file", copy, "--profile", "*", "config"]
    checked = subprocess.run([*command, "--quiet"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
