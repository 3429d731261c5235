"""Files in deploy/ are what their tools take: the Dockerfile, the compose files, the Kubernetes manifests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text

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


@pytest.mark.parametrize("names", [("compose.yaml",), ("compose.yaml", "compose.secure.yaml")], ids="+".join)
def test_the_compose_files_add_up_to_a_fleet(names: tuple[str, ...], tmp_path: Path) -> None:
    composed = yaml.safe_load(_compose(tmp_path, *names))
    services = composed["services"]
    assert services.keys() == {"redis", "postgres", "scheduler", "cpu", "cpu-model", "gpu0", "gpu1"}
    ours = {name: service for name, service in services.items() if name not in {"redis", "postgres"}}
    for name, service in ours.items():
        parse(service["command"])
        assert "PASSWORD" not in service["environment"]["DROPSCRIBE_DATABASE_URL"], name
        assert ("sslmode=verify-full" in service["environment"]["DROPSCRIBE_DATABASE_URL"]) == (len(names) > 1)
    named = {mount.partition(":")[0] for service in services.values() for mount in service.get("volumes", [])}
    assert {name for name in named if not name.startswith((".", "/"))} == composed["volumes"].keys()


def _compose(folder: Path, *names: str) -> str:
    """The files merged and filled in. podman-compose does so without an engine, but asks for podman's version first."""
    example = (DEPLOY / "compose.env.example").read_text(encoding="utf-8")
    (folder / "env").write_text(example.replace("PASSWORD=\n", "PASSWORD=secret\n"), encoding="utf-8")
    (folder / "podman").write_text("#!/bin/sh\necho podman version 5.4.2\n", encoding="utf-8")
    (folder / "podman").chmod(0o755)
    files = [argument for name in names for argument in ("--file", str(DEPLOY / name))]
    profiles = ("--profile", "gpu", "--profile", "cpu-model")
    merged = subprocess.run(
        [str(TOOLS / "podman-compose"), "--env-file", str(folder / "env"), *files, *profiles, "config"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert merged.returncode == 0, merged.stderr
    return merged.stdout


def test_kubernetes_takes_every_manifest() -> None:
    known = [one for one in resources(*MANIFESTS) if not one["apiVersion"].startswith("keda.sh/")]
    assert len(known) == 10
    for resource in known:
        kubernetes_validate.validate(resource, "1.30", strict=True)


def test_a_manifest_with_a_typing_error_would_be_noticed() -> None:
    (scheduler, *_) = resources(DEPLOY / "kubernetes" / "dropscribe.yaml")
    scheduler["spec"]["replica"] = scheduler["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(scheduler, "1.30", strict=True)


def test_every_pod_starts_and_checks_what_exists() -> None:
    pods = [one["spec"]["template"]["spec"] for one in resources(*MANIFESTS) if "template" in one.get("spec", {})]
    assert len(pods) == 3
    claims = {one["metadata"]["name"] for one in resources(*MANIFESTS) if one["kind"] == "PersistentVolumeClaim"}
    for pod in pods:
        (container,) = pod["containers"]
        parse(container["args"])
        parse(container["readinessProbe"]["exec"]["command"][1:])
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
