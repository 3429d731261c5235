"""Files in deploy/ are what their tools take: the Dockerfile, the compose files, the Kubernetes manifests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml
from dotenv import dotenv_values
from sqlalchemy import text

from dropscribe.admin.local import systemd
from dropscribe.core.errors import SettingsError
from dropscribe.core.settings import fields, variable
from dropscribe.core.settings_loading import load
from dropscribe.serve.rendering import SIGN_IN
from dropscribe.store import jobs
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from tests.documents import REPOSITORY
from tests.unit.test_documents import parse

DEPLOY = REPOSITORY / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
TOOLS = Path(sys.executable).parent


def resources(*paths: Path) -> list[dict[str, Any]]:
    return [resource for path in paths for resource in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def test_the_dockerfile_is_without_reproach() -> None:
    checked = subprocess.run([TOOLS / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_image_holds_every_package() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} - {"bench", "tests"}
    assert {f"COPY {package} {package}" for package in packages} <= set(lines)


def test_the_context_holds_what_the_image_copies_and_nothing_else() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert set(re.findall(r"^!(.+)$", ignore, re.MULTILINE)) == {name for names in copied for name in names.split()}


MODELS = {"vibevoice", "vibevoice-1", "whisper-gpu", "whisper-cpu", "onnx"}
PROFILES = MODELS | {"server"}
OURS = PROFILES | {"scheduler", "cpu"}
# What a compose file sets itself, as containers would not find each other, their volumes or Prometheus otherwise.
OF_THE_FLEET = {"database_url", "redis_url", "home", "spool", "metrics_address"}
SAMPLES = (
    "2 0.25 300 true false de done https://hook.example /inbox/names.txt whisper md high head 30d smtp://mail.example "
    "desk@mail.example translate 10.0.0.5"
).split()


GPUS = {"GPU": "GPU-5f1e", "GPU_1": "3"}
PINNED = {"REDIS_IMAGE": f"redis@sha256:{'0' * 64}", "POSTGRES_IMAGE": f"postgres@sha256:{'1' * 64}"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the plain compose file comes to, which takes seconds, with two GPUs and pinned images."""
    return _compose(tmp_path_factory.mktemp("fleet"), "compose.yaml", variables=GPUS | PINNED)


@pytest.mark.parametrize("is_secured", [False, True])
def test_the_compose_files_add_up_to_a_fleet(is_secured: bool, fleet: dict[str, Any], tmp_path: Path) -> None:
    composed = _compose(tmp_path, "compose.yaml", "compose.secure.yaml") if is_secured else fleet
    services = composed["services"]
    assert services.keys() == {"redis", "postgres", *OURS}
    for name in OURS:
        service = services[name]
        parse(service["command"])
        assert service.get("profiles", []) == ([name] if name in PROFILES else [])
        assert "PASSWORD" not in service["environment"]["DROPSCRIBE_DATABASE_URL"], name
        assert ("sslmode=verify-full" in service["environment"]["DROPSCRIBE_DATABASE_URL"]) == is_secured
    named = {mount.partition(":")[0] for service in services.values() for mount in service.get("volumes", [])}
    assert {name for name in named if not name.startswith((".", "/"))} == composed["volumes"].keys()


def test_each_gpu_is_reserved_by_its_number_or_uuid_and_may_compute(fleet: dict[str, Any]) -> None:
    services = fleet["services"]
    reserved = {name: service["deploy"] for name, service in services.items() if "deploy" in service}
    ids = {name: one["resources"]["reservations"]["devices"][0]["device_ids"] for name, one in reserved.items()}
    assert ids == {"vibevoice": ["GPU-5f1e"], "whisper-gpu": ["GPU-5f1e"], "vibevoice-1": ["3"]}
    for name, one in reserved.items():
        assert "compute" in one["resources"]["reservations"]["devices"][0]["capabilities"]  # else there is no CUDA
        assert services[name]["image"] == "dropscribe:gpu"
        assert "DEVICE=gpu" in services[name]["build"]["args"]


@pytest.mark.parametrize(("port", "published"), [("", "127.0.0.1::8765"), ("8765", "127.0.0.1:8765:8765")])
def test_a_laptop_takes_the_port_of_the_page_only_where_somebody_names_it(
    port: str, published: str, tmp_path: Path
) -> None:
    services = _compose(tmp_path, "compose.laptop.yaml", variables={"INBOX": "/srv", "PAGE_PORT": port})["services"]
    assert services["up"]["ports"] == [published]


@pytest.mark.parametrize("file", ["compose.yaml", "compose.laptop.yaml"])
def test_every_setting_in_the_environment_file_reaches_every_container(file: str, tmp_path: Path) -> None:
    wanted = {variable(name): _sample(name) for name in fields()}
    services = _compose(tmp_path, file, variables=wanted)["services"]
    ours = {name: service for name, service in services.items() if name in {*OURS, "up"}}
    assert ours
    for name, service in ours.items():
        settings = load(_environment(service, tmp_path))
        expected = load(wanted)
        missed = {one for one in fields() if settings.value(one) != expected.value(one)}
        assert missed <= OF_THE_FLEET, name
        assert settings.home == Path("/state")


def _sample(name: str) -> str:
    """A value of a setting that is not its default."""
    choices = get_args(fields()[name].annotation)
    for one in (*SAMPLES, *(choice for choice in choices if isinstance(choice, str))):
        with suppress(SettingsError):
            if load({variable(name): one}).value(name) != load({}).value(name):
                return one
    raise AssertionError(f"no sample fits {name}")


def _environment(service: dict[str, Any], folder: Path) -> dict[str, str]:
    """The variables of a container, as compose puts them together, over those of its image."""
    image = re.findall(r"(DROPSCRIBE_\w+)=(\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    found = {name: value or "" for name, value in image}
    for file in service["env_file"]:
        found |= dotenv_values(folder / (file if isinstance(file, str) else file["path"]))
    return found | service["environment"]


def test_what_is_fetched_or_converted_has_a_volume_that_may_be_written(fleet: dict[str, Any]) -> None:
    for name in MODELS:
        mounted = {mount.split(":", 1)[1] for mount in fleet["services"][name]["volumes"]}
        assert {"/models", "/state", "/spool:ro"} == mounted


def _compose(folder: Path, *names: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The files merged and filled in. podman-compose does so without an engine, but asks for podman's version first."""
    example = (DEPLOY / "compose.env.example").read_text(encoding="utf-8")
    given = "".join(f"{name}='{value}'\n" for name, value in (variables or {}).items())
    (folder / ".env").write_text(example.replace("PASSWORD=\n", "PASSWORD=secret\n") + given, encoding="utf-8")
    (folder / "podman").write_text("#!/bin/sh\necho podman version 5.4.2\n", encoding="utf-8")
    (folder / "podman").chmod(0o755)
    files = [argument for name in names for argument in ("--file", shutil.copy(DEPLOY / name, folder))]
    profiles = [argument for name in sorted(PROFILES) for argument in ("--profile", name)]
    merged = subprocess.run(
        [str(TOOLS / "podman-compose"), *files, *profiles, "config"],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert merged.returncode == 0, merged.stderr
    return yaml.safe_load(merged.stdout)


def test_kubernetes_takes_every_manifest() -> None:
    known = [one for one in resources(*MANIFESTS) if not one["apiVersion"].startswith("keda.sh/")]
    assert len(known) == 12
    for resource in known:
        kubernetes_validate.validate(resource, "1.30", strict=True)


def test_a_manifest_with_a_typing_error_would_be_noticed() -> None:
    (scheduler, *_) = resources(DEPLOY / "kubernetes" / "dropscribe.yaml")
    scheduler["spec"]["replica"] = scheduler["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(scheduler, "1.30", strict=True)


def test_every_pod_starts_and_checks_what_exists() -> None:
    pods = [one["spec"]["template"]["spec"] for one in resources(*MANIFESTS) if "template" in one.get("spec", {})]
    assert len(pods) == 4
    claims = {one["metadata"]["name"] for one in resources(*MANIFESTS) if one["kind"] == "PersistentVolumeClaim"}
    for pod in pods:
        (container,) = pod["containers"]
        parse(container["args"])
        probe = container["readinessProbe"]
        if "exec" in probe:
            parse(probe["exec"]["command"][1:])
        else:
            assert (probe["httpGet"]["path"], probe["httpGet"]["port"]) == (SIGN_IN, container["ports"][0]["name"])
        assert not {"startupProbe", "livenessProbe"} & {*container}  # they would kill for a database that is away
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        claimed = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert claimed <= claims


def test_keda_asks_the_store_what_it_can_answer(database: Database) -> None:
    jobs.admit(database, [NewJob("/root", "a.wav", 1, 1, "digest", "normal")])
    (scaled,) = [one for one in resources(*MANIFESTS) if one["kind"] == "ScaledObject"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in {
        one["metadata"]["name"] for one in resources(*MANIFESTS) if one["kind"] == "StatefulSet"
    }
    (trigger,) = scaled["spec"]["triggers"]
    with database.read() as connection:
        assert connection.execute(text(trigger["metadata"]["query"])).scalar_one() == 0


def test_every_image_of_others_can_be_pinned_by_a_digest(fleet: dict[str, Any]) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    head, _, stages = dockerfile.partition("\nFROM ")
    given = set(re.findall(r"^ARG (\w+)=", head, re.MULTILINE))
    bases = re.findall(r"^FROM (\S+)", f"FROM {stages}", re.MULTILINE)
    named = [base for base in bases if not re.match(r"(base|build)-\$", base)]
    assert len(named) == 4
    assert all(base.strip("${}") in given for base in named)
    assert {fleet["services"][name]["image"] for name in ("redis", "postgres")} == set(PINNED.values())


def test_every_unit_keeps_its_state_to_itself_and_what_limits_an_installed_one_limits_the_shipped_ones_too() -> None:
    decoders = " seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"  # which a server has not
    texts = [path.read_text(encoding="utf-8") for path in DEPLOY.glob("*.service")]
    shipped = [set(text.replace(decoders, "").splitlines()) for text in texts]
    scopes = (systemd.of_user(), systemd.of_machine())
    units = [systemd.unit_text(scope, [Path("/srv")], "ada") for scope in scopes]
    installed = [set(unit.replace(decoders, "").splitlines()) for unit in units]
    limits = {line for line in installed[0] if line.startswith(("Restrict", "Lock", "SystemCall"))}
    assert (bool(shipped), len(limits)) == (True, 7)
    for unit in (*shipped, *installed):
        assert {"UMask=0077", "NoNewPrivileges=yes", *limits} <= unit
