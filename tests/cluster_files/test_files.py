"""The files of ``cluster/`` are what Ray's and KubeRay's own schemas ask for, and agree with each other and raydc."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from raydc.config.load import load

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
CRD = ROOT.parent / "shared" / "data" / "kuberay-crd-rayjobs.yaml"
CLOUDS = ("aws", "gcp")
GRACE_OF_PYTHON = 10
"""Seconds that a pod needs after Ray's drain until it is gone."""


def tree(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def words(found: Any) -> list[str]:
    """Every text in a tree."""
    if isinstance(found, dict | list):
        return [w for v in (found.values() if isinstance(found, dict) else found) for w in words(v)]
    return [found] if isinstance(found, str) else []


def ray_version() -> str:
    """The lowest one that raydc takes."""
    match = re.search(r'"ray\[.*\]>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert match
    return f"{match[1]}.0"


# Clouds


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_a_cloud_s_file(cloud: str) -> None:
    validate_config(prepare_config(tree(f"{cloud}.yaml")))


@pytest.mark.parametrize("spoil", [{"node_typos": {}}, {"head_node_type": "hed"}, {"max_workers": "many"}])
def test_ray_would_refuse_a_cloud_s_file_with_a_mistake(spoil: dict[str, Any]) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config({**tree("aws.yaml"), **spoil}))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_work_lands_on_the_head_and_idle_workers_cost_nothing(cloud: str) -> None:
    found = tree(f"{cloud}.yaml")
    types = found["available_node_types"]
    head = types.pop(found["head_node_type"])
    assert head["resources"]["CPU"] == 0 and head["max_workers"] == 0
    for worker in types.values():
        assert worker["min_workers"] == 0 and 0 < worker["max_workers"] <= found["max_workers"]
        assert worker["resources"]["GPU"] == 1
    assert not found["provider"]["cache_stopped_nodes"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_the_spot_type_is_spot_and_it_is_asked_first(cloud: str) -> None:
    types = tree(f"{cloud}.yaml")["available_node_types"]
    spot, other = types["gpu_spot"], types["gpu_on_demand"]
    assert [t["labels"] for t in (spot, other)] == [{"market": "spot"}, {"market": "on-demand"}]
    assert spot["priority"] > other["priority"] and spot["resources"] == other["resources"]
    assert is_spot(spot) and not is_spot(other) and not is_spot(types["head"])


def is_spot(kind: dict[str, Any]) -> bool:
    config = kind["node_config"]
    market = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    return market or config.get("scheduling", {}).get("provisioningModel") == "SPOT"


def test_aws_machines_have_an_image_a_role_and_a_disk() -> None:
    types = tree("aws.yaml")["available_node_types"]
    configs = {name: kind["node_config"] for name, kind in types.items()}
    assert len({c["ImageId"] for c in configs.values()}) == 1, "Python must be the same on all nodes"
    assert all(c["MetadataOptions"]["HttpTokens"] == "required" for c in configs.values())
    assert all(c["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] for c in configs.values())
    workers = {c["IamInstanceProfile"]["Name"] for name, c in configs.items() if name != "head"}
    assert len(workers) == 1 and configs["head"]["IamInstanceProfile"]["Name"] not in workers


def test_gcp_machines_with_a_gpu_are_not_moved_and_workers_have_an_account() -> None:
    types = tree("gcp.yaml")["available_node_types"]
    configs = {name: kind["node_config"] for name, kind in types.items()}
    assert len({c["disks"][0]["initializeParams"]["sourceImage"] for c in configs.values()}) == 1
    for name in ("gpu_spot", "gpu_on_demand"):
        scheduling = configs[name]["scheduling"]
        assert scheduling["onHostMaintenance"] == "TERMINATE" and scheduling["automaticRestart"] is False
        assert configs[name]["serviceAccounts"][0]["email"].endswith("@my-project.iam.gserviceaccount.com")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nodes_get_what_pip_needs_and_the_token(cloud: str) -> None:
    mounts = tree(f"{cloud}.yaml")["file_mounts"]
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'^(?:readme = |license-files = \[)"(\S+)"', project, re.MULTILINE)
    assert {"raydc", "pyproject.toml", *named} == set(mounts.values())
    assert all((ROOT / here).exists() and there == f"~/raydc/{here}" for there, here in mounts.items())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_workers_join_the_head_with_its_versions_and_watch_for_a_notice(cloud: str) -> None:
    found = tree(f"{cloud}.yaml")
    head, worker = (" ".join(found[f"{kind}_start_ray_commands"]) for kind in ("head", "worker"))
    assert port(head, r"--head --port=(\d+)") == port(worker, r"--address=\$RAY_HEAD_IP:(\d+) --object")
    assert port(head, r"--port=(\d+)") == port(worker, r"notice --address=\$RAY_HEAD_IP:(\d+)")
    module = re.search(r"python -m (\S+)", worker)
    assert module and importlib.util.find_spec(module[1]), "the watcher of spot machines is not there"
    assert all(s.count("ray start") == s.count("RAY_AUTH_MODE=token; ray start") for s in (worker,))
    assert "~/nodes.txt" in found["cluster_synced_files"]
    assert "> ~/nodes.txt" in found["head_setup_commands"][-1] and "-r ~/nodes.txt" in found["worker_setup_commands"][0]


def port(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in {text}"
    return match[1]


# Kubernetes


def strict(schema: Any) -> Any:
    """A CRD's schema as the API server applies it with strict field validation: no field that it does not name."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if found.pop("x-kubernetes-int-or-string", False):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if isinstance(found.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    if not CRD.exists():
        pytest.skip(f"KubeRay's schema is not at {CRD}")
    versions = yaml.load(CRD.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
    schema = next(v for v in versions if v["name"] == "v1")["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(strict(schema))


def test_kuberay_takes_the_job(validator: jsonschema.Draft202012Validator) -> None:
    assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(tree("rayjob.yaml"))] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("shutdownAfterJobFinish", True),
        ("rayClusterSpec.workerGroupSpecs.0.maxReplicas", "16"),
        ("rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.imge", "x"),
        ("rayClusterSpec.autoscalerOptions.upscalingMode", "Fast"),
    ],
)
def test_kuberay_would_refuse_the_job_with_a_mistake(
    path: str, value: Any, validator: jsonschema.Draft202012Validator
) -> None:
    job = copy.deepcopy(tree("rayjob.yaml"))  # anchors make parts of it one object
    place: Any = job["spec"]
    *way, last = path.split(".")
    for step in way:
        place = place[int(step)] if step.isdecimal() else place[step]
    place[last] = value
    assert not validator.is_valid(job)


def test_the_job_leaves_the_head_idle_and_gives_workers_time_to_checkpoint() -> None:
    spec = tree("rayjob.yaml")["spec"]["rayClusterSpec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    spot, other = spec["workerGroupSpecs"]
    assert [g["labels"] for g in (spot, other)] == [{"market": "spot"}, {"market": "on-demand"}]
    assert spot["priority"] > other["priority"]
    for group in (spot, other):
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
        pod = group["template"]["spec"]
        container = pod["containers"][0]
        drain = next(e["value"] for e in container["env"] if e["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S")
        assert int(drain) + GRACE_OF_PYTHON <= pod["terminationGracePeriodSeconds"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        store = int(group["rayStartParams"]["object-store-memory"])
        assert store < int(pod["volumes"][0]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30


def test_the_job_s_command_is_one_of_raydc() -> None:
    command = tree("rayjob.yaml")["spec"]["entrypoint"].split()
    assert command[:4] == ["python", "-m", "raydc", "run"]
    assert "COPY configs /opt/raydc/configs" in (CLUSTER / "Dockerfile").read_text()
    overrides = [value for key, value in zip(command[5::2], command[6::2], strict=True) if key == "--set"]
    load(ROOT / Path(command[4]).relative_to("/opt/raydc"), overrides)


# All of them


def test_every_file_names_the_version_of_ray_that_raydc_needs() -> None:
    version, job = ray_version(), tree("rayjob.yaml")["spec"]["rayClusterSpec"]
    assert job["rayVersion"] == version
    images = {w for w in words(job) if w.startswith("registry.example/raydc:")}
    assert images == {f"registry.example/raydc:{version}"}
    docker = (CLUSTER / "Dockerfile").read_text()
    assert re.findall(r"^ARG RAY=(\S+)", docker, re.MULTILINE) == [version]
    for cloud in CLOUDS:
        assert f"ray[default,data,train]=={version}" in " ".join(tree(f"{cloud}.yaml")["head_setup_commands"])


def test_what_the_image_copies_exists_and_is_sent_to_the_builder() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    sent = re.findall(r"^!(\S+)$", (CLUSTER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert names == set(sent) and all((ROOT / name).exists() for name in names)
    assert re.findall(r"^USER (\S+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)[-1] not in ("root", "0")


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "rayjob.yaml", "Dockerfile", "local.sh"])
def test_no_file_holds_a_secret(name: str) -> None:
    text = (CLUSTER / name).read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|RAY_AUTH_TOKEN=|password|[0-9a-f]{32}", text)
