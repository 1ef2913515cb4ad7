"""The order of a saga's steps, and what cannot be an order."""

from datetime import timedelta
from typing import Any

import pytest

from sagahook.saga import (
    DefinitionError,
    Saga,
    StepContext,
    await_signal,
    child,
    compensate,
    foreach,
    sleep,
    step,
    trigger,
)


def stepping(*args: Any, **options: Any) -> Any:
    async def action(self: object, ctx: StepContext) -> None: ...

    return step(*args, **options)(action)


def undoing(name: str, **options: Any) -> Any:
    async def undo(self: object, ctx: StepContext, result: object) -> None: ...

    return compensate(name, **options)(undo)


def saga(**members: Any) -> type[Saga]:
    return type("Order", (Saga,), members)


def problems(**members: Any) -> list[str]:
    """What is wrong with a saga of those members."""
    with pytest.raises(DefinitionError) as refused:
        saga(**members)
    return list(refused.value.problems)


# -- order ------------------------------------------------------------------------------------------------------


def test_steps_run_in_the_order_written_but_for_those_that_say_after() -> None:
    order = saga(
        reserve=stepping(),
        charge=stepping(after=["reserve"]),
        pack=stepping(after=["reserve"]),
        ship=stepping(after=["charge", "pack"]),
        note=stepping(),
        audit=stepping(after=[]),
    ).definition
    assert order.levels == {"reserve": 0, "audit": 0, "charge": 1, "pack": 1, "ship": 2, "note": 3}


def test_a_declared_step_has_its_place_among_the_methods_and_the_attribute_s_name() -> None:
    class Order(Saga):
        @step
        async def charge(self, ctx: StepContext) -> None: ...

        approval = await_signal("approved")
        nap = sleep("cool_off", seconds=60)

        @step
        async def ship(self, ctx: StepContext) -> None: ...

    assert [each.name for each in Order.definition.steps] == ["charge", "approval", "cool_off", "ship"]


def test_a_step_that_is_named_twice_in_after_is_waited_for_once() -> None:
    order = saga(a=stepping(), b=stepping(after=["a", "a"])).definition
    assert order.by_name["b"].after == ("a",)


def test_time_outs_follow_the_kind_and_durations_may_be_timedeltas() -> None:
    order = saga(
        look=stepping(kind="quick"),
        forget=undoing("look"),
        write=stepping(kind="file"),
        call=stepping(),
        slow=stepping(
            kind="quick",
            timeout=timedelta(minutes=2),
            heartbeat=timedelta(seconds=5),
            deadline=timedelta(hours=1),
        ),
    ).definition
    assert [each.timeout for each in order.steps] == [10, 15, 30, 120]
    look, slow = order.by_name["look"], order.by_name["slow"]
    assert look.compensation is not None
    assert look.compensation.timeout == 10
    assert (slow.heartbeat, slow.deadline) == (5, 3600)


def test_a_saga_says_its_deadline_its_attributes_and_how_it_is_undone() -> None:
    class Order(Saga):
        deadline = timedelta(hours=2)
        attributes = {"repository": "repo.name"}  # noqa: RUF012  # as an author writes it
        compensation = "parallel"

        @step
        async def charge(self, ctx: StepContext) -> None: ...

        @compensate("charge")
        async def refund(self, ctx: StepContext, result: object) -> None: ...

    class Gift(Order): ...

    for definition in (Order.definition, Gift.definition):
        assert definition.compensation == "parallel"
        assert definition.deadline == 7200
        assert definition.attributes == {"repository": "repo.name"}
    order: Any = Gift()
    assert order.compensation("charge") == order.refund


def test_what_is_not_said_leaves_the_hash_as_it_was() -> None:
    plain = saga(charge=stepping()).definition.hash
    assert saga(charge=stepping(pivot=False, after=None), compensation="sequential").definition.hash == plain
    assert saga(charge=stepping(pivot=True)).definition.hash != plain
    assert saga(charge=stepping(after=[])).definition.hash != plain


# -- what is no order -------------------------------------------------------------------------------------------


def test_a_circle_is_told_as_the_way_round_it() -> None:
    assert problems(a=stepping(after=["c"]), b=stepping(), c=stepping(), d=stepping()) == [
        "Order: the steps a → b → c → a wait for each other in a circle: take one out of an after"
    ]
    (alone,) = problems(a=stepping(after=["a"]))
    assert alone.startswith("Order: the steps a → a wait for each other")


def test_every_circle_is_told_once_and_what_only_waits_for_one_is_not() -> None:
    found = problems(
        a=stepping(after=["b"]),
        b=stepping(after=["a"]),
        c=stepping(after=["a", "d"]),
        d=stepping(after=["e"]),
        e=stepping(after=["d"]),
        f=stepping(after=["c"]),
    )
    assert [problem.split(" wait ")[0] for problem in found] == [
        "Order: the steps a → b → a",
        "Order: the steps d → e → d",
    ]


def test_a_step_comes_after_steps_that_exist() -> None:
    assert problems(charge=stepping(), ship=stepping(after=["chrage", "charge"])) == [
        "Order: the step 'ship' comes after 'chrage', which does not exist; the steps are: charge, ship"
    ]


@pytest.mark.parametrize("after", ["charge", [7], 7])
def test_after_is_a_list_of_names(after: Any) -> None:
    (found,) = problems(charge=stepping(), ship=stepping(after=after))
    assert found.startswith("Order: the step 'ship': after must be a list of step names")


@pytest.mark.parametrize("name", ["charge[0]", "[", "a]"])
def test_brackets_are_reserved_for_items(name: str) -> None:
    (found,) = problems(charge=stepping(name))
    assert "[ and ] are reserved for the items of a foreach" in found


def test_a_heartbeat_is_shorter_than_the_time_out() -> None:
    (found,) = problems(charge=stepping(timeout=5, heartbeat=5))
    assert "its heartbeat (5 s) must be shorter than its timeout (5 s)" in found
    assert saga(charge=stepping(timeout=5, heartbeat=4.9))


def test_everything_that_is_wrong_with_a_class_is_told_at_once() -> None:
    found = problems(
        version=0,
        deadline=-1,
        compensation="both",
        attributes={"Repo": "a..b"},
        charge=stepping(timeout=-1, heartbeat=-1),
        undo=undoing("chrage"),
        pay=stepping(after="charge", when=True),
    )
    expected = [
        "the version must be",
        'compensation must be "sequential" or "parallel"',
        "the step 'pay': after must be a list",
        "the step 'pay': when must be a function",
        ".undo compensates the step 'chrage'",
        "the step 'charge': timeout",
        "the step 'charge': heartbeat",
        "attributes: the name 'Repo' must be",
        "attributes: 'Repo' must be a dotted path into the context",
    ]
    assert len(found) == len(expected)
    for problem, part in zip(found, expected, strict=True):
        assert problem.removeprefix("Order").removeprefix(": ").startswith(part), problem


def test_a_deadline_is_above_0() -> None:
    (found,) = problems(deadline=0, charge=stepping())
    assert found.startswith("Order: deadline: ")


# -- pivots -----------------------------------------------------------------------------------------------------


def test_what_comes_before_a_pivot_or_beside_it_may_be_undone() -> None:
    assert saga(
        reserve=stepping(),
        release=undoing("reserve"),
        ship=stepping(pivot=True),
        second=stepping(pivot=True),
        pack=stepping(after=["reserve"]),
        unpack=undoing("pack"),
    )


def test_a_pivot_has_no_compensation() -> None:
    (found,) = problems(ship=stepping(pivot=True), undo=undoing("ship"))
    assert "'ship' is a pivot and has a compensation, which could never run" in found


def test_a_step_that_always_comes_after_a_pivot_has_none_however_far_it_is() -> None:
    (found,) = problems(
        ship=stepping(pivot=True), wait=sleep(seconds=1), tell=stepping(), untell=undoing("tell")
    )
    assert found == (
        "Order: the step 'tell' has a compensation, which could never run: past the pivot 'ship' nothing is "
        "compensated; leave it out, or move the pivot"
    )


def test_a_pivot_that_may_be_skipped_leaves_what_follows_undoable() -> None:
    assert saga(ship=stepping(pivot=True, when=lambda ctx: False), tell=stepping(), untell=undoing("tell"))


def test_a_child_may_follow_a_pivot() -> None:
    assert saga(ship=stepping(pivot=True), tell=child("mail"))


@pytest.mark.parametrize("wait", [sleep(seconds=1, pivot=True), await_signal("go", pivot=True)])
def test_what_only_waits_is_no_pivot(wait: Any) -> None:
    (found,) = problems(wait=wait)
    assert found.startswith("Order: the step 'wait' only waits, and so cannot be a pivot: put pivot=True on")


# -- compensations of every kind --------------------------------------------------------------------------------


def test_waits_children_and_items_may_be_undone() -> None:
    order = saga(
        approval=await_signal("approved"),
        nap=sleep(seconds=1),
        shipping=child("shipment"),
        charge=foreach(items=lambda ctx: [])(stepping()),
        a=undoing("approval"),
        b=undoing("nap"),
        c=undoing("shipping"),
        d=undoing("charge"),
    )
    assert all(each.compensation for each in order.definition.steps)
    instance: Any = order()
    assert instance.compensation("approval") == instance.a


def test_a_declared_step_may_not_take_the_engine_s_names() -> None:
    (found,) = problems(app=sleep(seconds=1))
    assert found.startswith("Order.app: the name 'app' is used by the engine")


def test_a_derived_class_may_leave_a_declared_step_out_or_replace_it() -> None:
    class Order(Saga):
        approval = await_signal("approved")

        @step
        async def ship(self, ctx: StepContext) -> None: ...

    class Trusted(Order):
        approval = None  # type: ignore[assignment]  # left out

    class Patient(Order):
        approval = await_signal("approved", timeout=9)

    assert list(Trusted.definition.by_name) == ["ship"]
    assert Patient.definition.by_name["approval"].patience == 9


# -- limits -----------------------------------------------------------------------------------------------------


def test_triggers_of_one_saga_limit_it_alike() -> None:
    def accept(self: object, event: Any) -> dict[str, Any]:
        return {}

    both = trigger(source="shop", max_concurrent=2)(trigger(source="bank", max_concurrent=3)(accept))
    assert problems(accept=both) == [
        "Order: the triggers of 'bank' and 'shop' limit the same saga differently: give both the same "
        "max_concurrent and rate_limit"
    ]


def test_a_trigger_without_limits_may_stand_beside_one_with() -> None:
    def accept(self: object, event: Any) -> dict[str, Any]:
        return {}

    marked = trigger(source="shop", max_concurrent=2, concurrency_key="a")(trigger(source="bank")(accept))
    assert saga(accept=marked)
