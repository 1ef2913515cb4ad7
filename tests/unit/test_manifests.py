"""The manifests of every overlay pass all checks, and what is made from something else was made anew."""

from pathlib import Path

import pytest
import yaml

from deploy.checks.generated import K8S, ROOT
from deploy.checks.manifests import Manifests
from deploy.checks.rendering import OVERLAYS, Refused, differences, drift, render, rendered
from deploy.checks.rights import USERS, Right, rights
from deploy.checks.rules import findings
from deploy.checks.secrets import BY_HAND
from deploy.checks.workloads import WORKLOADS
from sagahook_schemas.topics import ALL_TOPICS

GUIDE = ROOT / "docs" / "operating" / "kubernetes.md"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_wrong_with_an_overlay(overlay: str) -> None:
    assert [str(each) for each in findings(rendered(overlay))] == []


def test_what_is_generated_and_what_is_rendered_is_what_its_sources_say() -> None:
    assert [str(each) for each in drift()] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_workload_is_there(overlay: str) -> None:
    there = {pod.name for pod in rendered(overlay).pods()}
    # Where Strimzi is, its Topic Operator makes the topics.
    assert WORKLOADS.keys() - there <= {"sagahook-topics"}
    assert ("sagahook-topics" in there) == (not rendered(overlay).kind("Kafka"))


def test_every_component_is_in_some_overlay() -> None:
    used = {
        Path(component).name
        for overlay in OVERLAYS
        for component in yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())[
            "components"
        ]
    }
    assert used == {path.parent.name for path in K8S.glob("components/*/kustomization.yaml")}


def test_every_dashboard_is_delivered() -> None:
    made = {
        file
        for each in rendered("prod").kind("ConfigMap")
        if "grafana_dashboard" in each["metadata"].get("labels", {})
        for file in each["data"]
    }
    assert made == {path.name for path in (ROOT / "deploy/monitoring/dashboards").glob("*.json")}


def test_only_the_overlay_for_development_has_secrets_in_it() -> None:
    assert [overlay for overlay in OVERLAYS if rendered(overlay).kind("Secret")] == ["dev"]


def test_the_guide_names_every_secret_that_people_make() -> None:
    guide = GUIDE.read_text()
    assert [name for name in BY_HAND if f"`{name}`" not in guide] == []
    assert [key for keys in BY_HAND.values() for key in keys if f"`{key}`" not in guide] == []


def test_a_service_may_write_only_what_the_registry_says_that_it_writes() -> None:
    for service in USERS.keys() - {"operators"}:
        written = {
            right.name.removeprefix("p.")
            for right in rights(service, "p")
            if right.resource == "topic" and "Write" in right.operations and not right.prefix
        }
        assert written == {topic.base for topic in ALL_TOPICS if service in topic.writers}


def test_the_runner_may_make_the_topics_of_participants_and_no_others() -> None:
    making = [right for right in rights("saga-runner", "p") if "Create" in right.operations]
    assert making == [Right("topic", "p.saga.steps.", ("Create", "Write"), prefix=True)]


def test_a_difference_is_shown_object_by_object() -> None:
    old = Manifests.of("{kind: A, metadata: {name: x}, spec: {n: 1}}\n---\n{kind: B, metadata: {name: y}}")
    new = Manifests.of("{kind: C, metadata: {name: z}}\n---\n{kind: A, metadata: {name: x}, spec: {n: 2}}")
    changed, gone, come = differences(old, new)
    assert "--- A/x" in changed
    assert "-  n: 1\n+  n: 2" in changed
    assert "-kind: B" in gone
    assert "+kind: C" in come
    assert differences(old, old) == []


def test_what_kustomize_refuses_is_said_in_its_words() -> None:
    with pytest.raises(Refused, match="overlays/nowhere"):
        render("nowhere")
