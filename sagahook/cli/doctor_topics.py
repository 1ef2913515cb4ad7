"""`sagahook doctor`: the topics, against the registry, and what Kafka says of their copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.runtime.topic_plan import (
    Difference,
    Found,
    Plan,
    differences,
    is_endangered,
    plan_topics,
    topics_of,
)

COPIES = 3
"""Of each record, and as many brokers: what production must have. Then one may be lost while another is restarted."""


def check_topics(
    bootstrap: str,
    prefix: str,
    found: Mapping[str, Found],
    partitions: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    brokers: int,
    production: bool,
) -> Iterator[Line]:
    """partitions: of the topics that are there, as Kafka describes them. production: see COPIES."""
    plan = plan_topics(prefix, found, brokers=brokers, copies=COPIES if production else None)
    apply = f"sagahook topics apply --kafka {bootstrap} --prefix {prefix}"
    wrong = [*_made(plan, prefix, apply), *_agreeing(plan), *_led(partitions), *_copied(plan, production)]
    yield from wrong
    if not wrong:
        yield ok("topics", f"all {len(found)} are there, {plan.partitions} partitions each")
    yield from _settings(prefix, found, apply, production)


def _made(plan: Plan, prefix: str, apply: str) -> Iterator[Line]:
    if plan.make:
        names = ", ".join(topic.name(prefix) for topic in plan.make[:3])
        more = " …" if len(plan.make) > 3 else ""
        yield fail("topics", f"{len(plan.make)} are missing: {names}{more}", apply)


def _agreeing(plan: Plan) -> Iterator[Line]:
    for step in plan.refused:
        if step.topic == "all topics":
            yield fail("topics", step.says, step.then or "")


def _led(partitions: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Line]:
    each_of = [(name, each) for name, parts in partitions.items() for each in parts]
    headless = sorted({name for name, each in each_of if each["leader"] < 0})
    if headless:
        yield fail(
            "topics", f"no broker leads partitions of {', '.join(headless)}", "bring the missing brokers back"
        )
    behind = sorted({name for name, each in each_of if len(each["isr"]) < len(each["replicas"])})
    if behind:
        yield warn("topics", f"copies of {', '.join(behind)} are behind", "see why a broker is away or slow")


def _copied(plan: Plan, production: bool) -> Iterator[Line]:
    alone = [step for step in plan.steps if step.verb == "by hand"]
    if alone:
        yield (fail if production else warn)(
            "topics",
            f"{len(alone)} have fewer than {plan.copies} copies: losing a broker may lose them",
            f"{alone[0].then}; which ones: sagahook topics plan",
        )


def _settings(prefix: str, found: Mapping[str, Found], apply: str, production: bool) -> Iterator[Line]:
    """Where records would be lost that are to be kept for ever, that is a failure."""
    wrong = False
    for topic in topics_of(prefix, found):
        name = topic.name(prefix)
        if name not in found:
            continue
        different = differences(topic, found[name])
        grave = is_endangered(topic, different) or (production and _in_sync(different))
        for loses in (False, True):
            some = [each for each in different if each.loses == loses]
            if some:
                wrong = True
                says = f"{name}: {', '.join(map(str, some))}"
                then = f"{apply} --allow-loss   (it deletes what is older), or leave it" if loses else apply
                yield (fail if grave else warn)("topic settings", says, then)
        if found[name].config.get("unclean.leader.election.enable") == "true":
            wrong = True
            yield fail(
                "topic settings",
                f"{name}: unclean.leader.election.enable is true: where brokers were lost, records that were "
                "acknowledged may be gone",
                f"kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name {name} "
                "--add-config unclean.leader.election.enable=false",
            )
    if found and not wrong:
        yield ok("topic settings", "as the registry has them")


def _in_sync(different: Sequence[Difference]) -> bool:
    return any(each.key == "min.insync.replicas" for each in different)
