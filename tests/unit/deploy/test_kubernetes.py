"""The manifests say what a delivery engine needs them to say, in the words of Kubernetes' own schemas."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from dispatcher.errors import WrongSettings
from dispatcher.settings import SECRETS, Settings, environment_name, read_settings
from dispatcher.web.__main__ import GRACE_SECONDS
from tests.deploy_files import DEPLOY, PORTS, Pod, manifests, pods, services
from tests.each import each
from workers.notices.mailer import END_TIMEOUT

FOLDER = DEPLOY / "kubernetes"
SCHEMAS: dict[str, Any] = json.loads(Path(__file__).with_name("schemas").joinpath("kubernetes-1.30.json").read_text())
ALL = manifests()
PODS = pods()
GRACE = Settings.model_fields["grace_seconds"].default
LASTING = sorted(set(PODS) - {"migrate"})

each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in ALL if one["kind"] == kind}


def labels_of(name: str) -> dict[str, str]:
    workload = {**of_kind("Deployment"), **of_kind("Job")}[f"dispatcher-{name}"]
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    named = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In"
        named = named and labels.get(one["key"]) in one["values"]
    return named


@each("manifest", ALL)
def test_kubernetes_takes_it(manifest: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for({**SCHEMAS, "$ref": f"#/$defs/{manifest['kind']}"})
    assert [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(manifest)] == []
    assert manifest["metadata"].get("namespace", "dispatcher") == "dispatcher"


def test_a_misspelt_member_is_no_manifest() -> None:
    validator = jsonschema_rs.validator_for({**SCHEMAS, "$ref": "#/$defs/Deployment"})
    (manifest,) = [one for one in ALL if one["metadata"]["name"] == "dispatcher-beat" and one["kind"] == "Deployment"]
    copy = json.loads(json.dumps(manifest))
    copy["spec"]["template"]["spec"]["enableServiceLink"] = copy["spec"]["template"]["spec"].pop("enableServiceLinks")
    assert not validator.is_valid(copy)


def test_the_kustomization_has_every_manifest_but_the_secrets() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "11-secrets.example.yaml"}
    assert set(kustomization["resources"]) == files
    assert {image["name"] for image in kustomization["images"]} == {pod.container["image"] for pod in PODS.values()}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH: the manifests are not put together")
def test_kubectl_puts_them_together() -> None:
    built = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    found = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(built.stdout)]
    assert sorted(found) == sorted((one["kind"], one["metadata"]["name"]) for one in ALL if one["kind"] != "Secret")


def test_pods_run_what_containers_of_compose_run() -> None:
    assert {name: pod.command for name, pod in PODS.items()} == {
        name: service.command for name, service in services().items()
    }


def test_pods_get_the_settings_and_secrets_that_containers_of_compose_get() -> None:
    """Compose has the mail password commented out, because it works without."""
    mail = {"DISPATCHER_SMTP_PASSWORD_FILE": "/run/secrets/smtp_password"}
    for name, service in services().items():
        more = mail if name == "upkeep" else {}
        assert PODS[name].environment == service.environment | more
        assert PODS[name].secrets == service.secrets | dict.fromkeys(["smtp_password"] if more else [], "smtp_password")


@each_pod
def test_each_secret_is_in_the_example_and_mounted_where_its_variable_says(pod: Pod) -> None:
    (example,) = of_kind("Secret").values()
    assert set(pod.secrets.values()) <= set(example["stringData"])
    named = {value for name, value in pod.environment.items() if name.endswith("_FILE")}
    assert named == {f"/run/secrets/{file}" for file in pod.secrets}
    for file in pod.secrets:
        assert pod.environment[f"{environment_name(file)}_FILE"] == f"/run/secrets/{file}"
    assert {"name": "secrets", "mountPath": "/run/secrets", "readOnly": True} in pod.container["volumeMounts"]


def test_only_who_needs_it_has_a_secret() -> None:
    holders = {secret: {name for name, pod in PODS.items() if secret in pod.secrets} for secret in SECRETS}
    assert holders == {
        "database_url": {"migrate", "api", "deliver", "upkeep"},
        "broker_url": set(PODS),
        "encryption_keys": {"api", "deliver", "upkeep"},
        "smtp_password": {"upkeep"},
        "metrics_token": {"api", "deliver", "upkeep"},
        "flower_password": {"flower"},
    }


def test_every_variable_is_a_setting() -> None:
    known = {environment_name(field) for field in Settings.model_fields}
    known |= {f"{environment_name(field)}_FILE" for field in SECRETS}
    (settings,) = of_kind("ConfigMap").values()
    assert set(settings["data"]) <= known
    assert {name for pod in PODS.values() for name in pod.environment} <= known


def test_what_is_not_filled_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _become(PODS["upkeep"], tmp_path, monkeypatch)
    with pytest.raises(WrongSettings) as refused:
        read_settings()
    assert {line.partition(" ")[0] for line in refused.value.lines} == {
        "DATABASE_URL",
        "BROKER_URL",
        "DISPATCHER_ENCRYPTION_KEYS",
        "DISPATCHER_SMTP_HOST",
        "DISPATCHER_SMTP_PASSWORD",
        "DISPATCHER_METRICS_TOKEN",
        "DISPATCHER_MAIL_FROM",
    }


def test_what_kubernetes_sets_for_services_would_be_refused_so_it_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [pod.spec["enableServiceLinks"] for pod in PODS.values()] == [False] * len(PODS)
    _become(PODS["upkeep"], tmp_path, monkeypatch)
    links = set()
    for name, service in of_kind("Service").items():
        prefix, (port,) = name.upper().replace("-", "_"), service["spec"]["ports"]
        monkeypatch.setenv(f"{prefix}_SERVICE_HOST", "10.1.2.3")
        monkeypatch.setenv(f"{prefix}_PORT_{port['port']}_TCP_ADDR", "10.1.2.3")
        links |= {f"{prefix}_SERVICE_HOST", f"{prefix}_PORT_{port['port']}_TCP_ADDR"}
    with pytest.raises(WrongSettings) as refused:
        read_settings()
    said = [line for line in refused.value.lines if "enableServiceLinks: false" in line]
    assert {line.partition(" ")[0] for line in said} == links


def _become(pod: Pod, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives this process the variables that the pod would have, with the example's secrets."""
    (settings,), (example,) = of_kind("ConfigMap").values(), of_kind("Secret").values()
    for name in [*map(environment_name, Settings.model_fields), "DISPATCHER_DATA_DIR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(folder))
    for file, key in pod.secrets.items():
        (folder / file).write_text(example["stringData"][key])
    for name, value in {**settings["data"], **pod.environment}.items():
        monkeypatch.setenv(name, value.replace("/run/secrets", str(folder)))


@each_pod
def test_a_pod_may_do_no_more_than_it_must(pod: Pod) -> None:
    context, container = pod.spec["securityContext"], pod.container["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, 10001, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod.spec["automountServiceAccountToken"] is False
    assert set(pod.container["resources"]) == {"requests", "limits"}
    assert {"memory"} == set(pod.container["resources"]["limits"]) < set(pod.container["resources"]["requests"])
    for mount in pod.container["volumeMounts"]:
        (volume,) = [one for one in pod.spec["volumes"] if one["name"] == mount["name"]]
        assert mount.get("readOnly") or "sizeLimit" in volume["emptyDir"]


@pytest.mark.parametrize("name", LASTING)
def test_liveness_does_not_ask_for_what_a_restart_would_not_bring_back(name: str) -> None:
    probes = PODS[name].probes
    assert {"startup", "liveness"} <= set(probes)
    for probe in (probes["startup"], probes["liveness"]):
        asked = probe.get("httpGet", {}).get("path")
        assert asked in {"flower": {"/healthcheck"}, "beat": {None}}.get(name, {"/healthz"})
    assert ("readiness" in probes) == (name not in {"beat", "flower"})
    if "readiness" in probes:
        assert probes["readiness"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("name", LASTING)
def test_probes_services_and_annotations_name_the_port_that_the_command_listens_on(name: str) -> None:
    pod = PODS[name]
    ports = {port["name"]: port["containerPort"] for port in pod.container.get("ports", [])}
    assert list(ports.values()) == [PORTS[name] for _ in (name,) if name in PORTS]
    assert all(re.search(rf"\b{port}\b", " ".join(pod.command)) for port in ports.values())
    assert {probe["httpGet"]["port"] for probe in pod.probes.values() if "httpGet" in probe} == set(ports)
    template = of_kind("Deployment")[f"dispatcher-{name}"]["spec"]["template"]
    if name in {"api", "deliver", "upkeep"}:
        assert template["metadata"]["annotations"]["prometheus.io/port"] == str(PORTS[name])
    for service in of_kind("Service").values():
        if service["spec"]["selector"] == labels_of(name):
            assert [port["targetPort"] for port in service["spec"]["ports"]] == list(ports)


def test_the_probes_of_beat_are_the_health_check_of_compose() -> None:
    commands = [probe["exec"]["command"] for probe in PODS["beat"].probes.values()]
    assert commands == 2 * services()["beat"].checks


def test_a_pod_has_time_to_end_what_is_in_flight() -> None:
    waits = int(re.findall(r"sleep\((\d+)\)", str(PODS["api"].container["lifecycle"]))[0])
    assert PODS["api"].stop_seconds >= GRACE_SECONDS + waits
    assert PODS["deliver"].stop_seconds >= GRACE + 15
    assert PODS["upkeep"].stop_seconds > END_TIMEOUT


def test_there_are_never_two_beats_and_always_two_of_what_must_go_on() -> None:
    replicas = {name: of_kind("Deployment")[f"dispatcher-{name}"]["spec"]["replicas"] for name in LASTING}
    assert replicas == {"api": 2, "beat": 1, "deliver": 2, "flower": 1, "upkeep": 2}
    assert of_kind("Deployment")["dispatcher-beat"]["spec"]["strategy"] == {"type": "Recreate"}
    budgets = of_kind("PodDisruptionBudget")
    assert set(budgets) == {f"dispatcher-{name}" for name, number in replicas.items() if number > 1}
    for name, number in replicas.items():
        if number > 1:
            assert selects(budgets[f"dispatcher-{name}"]["spec"]["selector"], labels_of(name))
            (spread,) = PODS[name].spec["topologySpreadConstraints"]
            assert selects(spread["labelSelector"], labels_of(name))


def reached(name: str, port: int) -> list[dict[str, Any]]:
    """The peers that a pod may speak to at a port."""
    found = []
    for policy in of_kind("NetworkPolicy").values():
        if selects(policy["spec"]["podSelector"], labels_of(name)):
            for rule in policy["spec"].get("egress", []):
                if "ports" not in rule or port in [one["port"] for one in rule["ports"]]:
                    found += rule.get("to", [{}])
    return found


def test_a_pod_speaks_only_to_whom_it_must() -> None:
    first = of_kind("NetworkPolicy")["nobody-else"]["spec"]
    assert first == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    inside = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
    for name in PODS:
        assert {peer["ipBlock"]["cidr"] for peer in reached(name, 6379) if "ipBlock" in peer} >= inside
        databases = {peer["ipBlock"]["cidr"] for peer in reached(name, 5432)}
        assert (inside <= databases) == (name not in {"beat", "flower"})
        outside = {peer["ipBlock"]["cidr"]: set(peer["ipBlock"]["except"]) for peer in reached(name, 443)}
        if name in {"api", "deliver", "upkeep"}:
            assert set(outside) == {"0.0.0.0/0", "::/0"}
            assert inside | {"169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10"} <= set.union(*outside.values())
        else:
            assert outside == {}
        assert ({} in reached(name, 587)) == (name == "upkeep")


def test_only_the_ingress_controller_and_prometheus_speak_to_pods() -> None:
    found = {}
    for name in PODS:
        for policy in of_kind("NetworkPolicy").values():
            if selects(policy["spec"]["podSelector"], labels_of(name)):
                for rule in policy["spec"].get("ingress", []):
                    (peer,) = rule["from"]
                    who = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                    found[name, who] = {port["port"] for port in rule["ports"]}
    listened = {name: {port["name"] for port in pod.container.get("ports", [])} for name, pod in PODS.items()}
    assert set(found) == {("api", "ingress-nginx"), *((name, "monitoring") for name in ("api", "deliver", "upkeep"))}
    assert all(listened[name] <= ports for (name, _), ports in found.items())
