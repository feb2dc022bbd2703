"""The Helm chart against itself and against the program; rendered by a reader of the few constructs that it uses."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Loaded, load
from gateway.config.environment import ProcessSettings
from tests.cli.program import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "waybill"
TEMPLATES = sorted((CHART / "templates").glob("*.yaml"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
LABELS = {"app.kubernetes.io/name": "waybill", "app.kubernetes.io/instance": "release"}


def value_at(path: str, values: Any) -> Any:
    for step in path.split("."):
        values = values[step]
    return values


def paths(values: dict[str, Any], lead: str = "") -> list[str]:
    """Give the paths of all leaves; what a template writes as a whole counts as one."""
    found = []
    for key, value in values.items():
        path = f"{lead}{key}"
        found += paths(value, f"{path}.") if isinstance(value, dict) and path != "resources" else [path]
    return found


def rendered(template: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Render a template: values, conditions, and the pipelines that this chart uses."""
    kept: list[str] = []
    is_on = [True]
    for line in template.read_text("utf-8").splitlines():
        action = ACTION.fullmatch(line.strip())
        words = action[1].split() if action else []
        if words and words[0] == "if":
            is_not = words[1] == "not"
            told = bool(value_at(words[-1].removeprefix(".Values."), values))
            is_on.append(is_on[-1] and told != is_not)
        elif words == ["end"]:
            is_on.pop()
        elif is_on[-1]:
            kept.append(ACTION.sub(lambda found: said(found[1], values), line))
    assert is_on == [True]
    return [document for document in yaml.safe_load_all("\n".join(kept)) if document is not None]


def said(action: str, values: dict[str, Any]) -> str:
    text, _, pipe = action.partition(" | ")
    if text.startswith("include"):
        result: Any = yaml.safe_dump(LABELS)
    elif text.startswith("add"):
        result = sum(value_at(w.removeprefix(".Values."), values) if "." in w else int(w) for w in text.split()[1:])
    elif text == ".Release.Name":
        result = "release"
    else:
        result = value_at(text.removeprefix("toYaml ").removeprefix(".Values."), values)
        result = yaml.safe_dump(result) if text.startswith("toYaml") else result
    if pipe.startswith("nindent"):
        indent = " " * int(pipe.split()[1])
        return "\n" + "\n".join(indent + line for line in str(result).rstrip("\n").splitlines())
    return "0" * 64 if pipe == "sha256sum" else str(result)


def everything() -> dict[str, Any]:
    """Give the values with all that is optional switched on."""
    on = {name: {**VALUES[name], "enabled": True} for name in ("ingress", "autoscaling", "serviceMonitor")}
    on["ingress"]["tlsSecret"] = "tls"
    return {**VALUES, **on, "secrets": {**VALUES["secrets"], "promptKey": "prompt"}}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
@pytest.mark.parametrize("values", [VALUES, everything()], ids=["as shipped", "everything on"])
def test_a_template_gives_whole_documents(template: Path, values: dict[str, Any]) -> None:
    documents = rendered(template, values)
    assert len(documents) <= 1
    assert documents or not values["ingress"]["enabled"]
    for document in documents:
        assert document["apiVersion"]
        assert document["kind"]
        assert document["metadata"]["name"].startswith("release")


def test_every_value_is_used_and_every_value_that_is_used_exists() -> None:
    texts = "\n".join(path.read_text("utf-8") for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", texts))
    assert used == set(paths(VALUES))


def test_the_routes_file_loads(tmp_path: Path) -> None:
    (config,) = rendered(CHART / "templates" / "configmap.yaml", VALUES)
    file = tmp_path / "routes.yaml"
    file.write_text(config["data"]["routes.yaml"], "utf-8")
    env = {
        "DATABASE_URL": "postgresql://waybill@postgres/waybill",
        "REDIS_URL": "redis://redis:6379/0",
        "ASSETS_URL": "s3://waybill/pictures?region=us-east-1",
        "OPENAI_API_KEY": "k",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    loaded = load(file, env=env, data_dir=tmp_path, sandbox_allowed=False)
    assert isinstance(loaded, Loaded), loaded


def test_the_pod_agrees_with_the_program() -> None:
    (deployment,) = rendered(CHART / "templates" / "deployment.yaml", everything())
    pod = deployment["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert server["ports"][0]["containerPort"] == ProcessSettings().port
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert server["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert VALUES["drain"]["grace"] >= ProcessSettings().grace_s
    assert pod["terminationGracePeriodSeconds"] > VALUES["drain"]["grace"] + VALUES["drain"]["lead"]
    assert {"WAYBILL_HOST", "WAYBILL_CONFIG", "WAYBILL_LEAD", "WAYBILL_GRACE"} == {one["name"] for one in server["env"]}
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}:" in dockerfile
    assert server["securityContext"]["readOnlyRootFilesystem"]


def test_no_secret_is_made() -> None:
    kinds = [document["kind"] for path in TEMPLATES for document in rendered(path, everything())]
    assert "Secret" not in kinds
    assert sorted(kinds) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "PodDisruptionBudget",
        "Service",
        "ServiceMonitor",
    ]
