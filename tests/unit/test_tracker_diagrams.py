"""Definitions and trails as Mermaid text."""

from datetime import timedelta

from sagahook_schemas.definitions import CompensationDefinition, Retry, SagaDefinition, StepDefinition
from sagahook_tracker.domain.diagram import mermaid
from sagahook_tracker.domain.runs import Run, Step

UNDO = CompensationDefinition(timeout=10, retry=Retry())


def step(name: str, **fields: object) -> StepDefinition:
    return StepDefinition.model_validate({"name": name, "timeout": 10, "retry": Retry()} | fields)


def saga(*steps: StepDefinition, **fields: object) -> SagaDefinition:
    return SagaDefinition.model_validate(
        {"name": "order", "version": 1, "triggers": (), "steps": steps} | fields
    )


def test_steps_point_at_those_that_come_after_them_and_at_what_undoes_them() -> None:
    definition = saga(
        step("reserve", compensation=UNDO),
        step("charge", after=("reserve",), pivot=True),
        step("invoice", after=("reserve",)),
        step("ship", after=("charge", "invoice"), does="child", child="shipping"),
    )
    assert mermaid(definition).splitlines() == [
        "flowchart TD",
        '    s0["reserve"]',
        '    s1["charge<br/>pivot"]',
        '    s2["invoice"]',
        '    s3[["ship<br/>saga shipping"]]',
        "    s0 --> s1",
        "    s0 --> s2",
        "    s1 --> s3",
        "    s2 --> s3",
        '    s0 -.-> s0u("undo reserve")',
        '    s3 -.-> s3u("undo ship")',
        "    classDef pivot stroke-width:4px",
        "    class s1 pivot",
    ]


def test_each_kind_of_step_has_a_shape() -> None:
    drawn = mermaid(
        saga(
            step("pause", does="sleep", seconds=60),
            step("approve", does="signal", signal="approval"),
            step("pick", does="each"),
            step("pay", does="participant", participant="bank"),
        )
    )
    for node in (
        's0(["pause<br/>sleep 60 s"])',
        's1{{"approve<br/>signal approval"}}',
        's2[/"pick<br/>for each"/]',
        's3[("pay<br/>by bank")]',
    ):
        assert node in drawn


def test_a_run_leaves_its_trail() -> None:
    definition = saga(step("reserve", compensation=UNDO), step("gift"), step("charge"), step("ship"))
    steps = (
        Step("reserve", "compensated"),
        Step("gift", "skipped"),
        Step("charge", "failed"),
        Step("charge[0]", "completed"),
    )
    drawn = mermaid(definition, Run("s", 1, 1, steps=steps))
    for line in ("class s0 compensated", "class s0u done", "class s1 skipped", "class s2 failed"):
        assert f"    {line}\n" in drawn
    assert "s3 " not in drawn.partition("classDef")[2]


def test_the_nodes_tell_attempts_items_and_how_long_each_took() -> None:
    definition = saga(
        step("charge", compensation=UNDO), step("pick", does="each"), step("pause", does="sleep")
    )
    steps = (
        Step("charge", "compensated", attempts=3, compensation_attempts=2),
        Step("pick", "running"),
        Step("pick[0]", "completed"),
        Step("pick[1]", "completed"),
        Step("pick[2]", "failed"),
        Step("pause", "waiting", due_at="2026-01-01T00:00:00.000Z"),
    )
    took = {"charge": timedelta(seconds=75), "pick": timedelta(milliseconds=12)}
    drawn = mermaid(definition, Run("s", 1, 1, steps=steps), took)
    for node in (
        's0["charge<br/>3 attempts, 0:01:15"]',
        's0u("undo charge<br/>2 attempts")',
        's1[/"pick<br/>for each<br/>2 done, 1 failed<br/>12 ms"/]',
        's2(["pause<br/>until 2026-01-01T00:00:00.000Z"])',
    ):
        assert node in drawn


def test_a_function_is_drawn_from_what_it_asked_for() -> None:
    run = Run("s", 1, 1, steps=(Step("first", "completed"), Step("second", "running")))
    assert mermaid(saga(code=True), run).splitlines()[1:4] == [
        '    s0["first"]',
        '    s1["second"]',
        "    s0 --> s1",
    ]


def test_no_name_can_break_out_of_its_label() -> None:
    drawn = mermaid(saga(step('a"]; click s0 "javascript:alert(1)"'), step("<b>*x*`\r\n%%")))
    assert drawn.splitlines()[1:3] == [
        '    s0["a#34;]#59; click s0 #34;javascript:alert(1)#34;"]',
        '    s1["#60;b#62;#42;x#42;#96;#13;<br/>#37;#37;"]',
    ]
