"""The sagas of an app and the children that they run."""

from typing import Any

import pytest

from sagahook.saga import DefinitionError, Saga, SagaApp, child, trigger


def accept(self: object, event: Any) -> dict[str, Any]:
    return {}


def saga(name: str, *children: str, version: int = 1, limit: int | None = None) -> Saga:
    """A saga that runs those others, and may be limited."""

    def handler(self: object, event: Any) -> dict[str, Any]:
        return {}

    members: dict[str, Any] = {f"step_{number}": child(one) for number, one in enumerate(children)}
    members |= {
        "name": name,
        "version": version,
        "take": trigger(source="shop", max_concurrent=limit)(handler),
    }
    made: Saga = type(name.title(), (Saga,), members)()
    return made


def problems(*sagas: Saga) -> list[str]:
    with pytest.raises(DefinitionError) as refused:
        SagaApp(sagas)
    return list(refused.value.problems)


def test_every_saga_knows_the_app_that_it_is_deployed_in() -> None:
    order, shipment = saga("order", "shipment"), saga("shipment")
    app = SagaApp([order, shipment])
    assert order.app is app
    assert app.newest_of("shipment") is shipment
    assert app.newest_of("nothing") is None


def test_two_parents_may_run_one_child() -> None:
    assert SagaApp([saga("order", "mail", "mail"), saga("refund", "mail"), saga("mail", "log"), saga("log")])


def test_a_child_is_deployed_beside_its_parent() -> None:
    assert problems(saga("order", "shipment"), saga("mail")) == [
        "order@1: the step 'step_0' runs the saga 'shipment', which does not exist: bring it into the app's module; "
        "its sagas are: order, mail"
    ]


def test_a_saga_is_never_its_own_child_however_far() -> None:
    assert problems(saga("order", "order")) == [
        "order@1 → order@1: the saga 'order' is its own child without end: take one of the child steps out"
    ]
    (found,) = problems(saga("a", "b"), saga("b", "c"), saga("c", "a"), saga("d", "a"))
    assert found.startswith("a@1 → b@1 → c@1 → a@1: ")


def test_an_old_version_may_run_what_runs_the_new_one_but_not_under_one_limit() -> None:
    old, between = saga("order", "between"), saga("between", "order")
    assert SagaApp([old, between, saga("order", version=2)])
    limited = [saga("order", "between", limit=2), between, saga("order", version=2, limit=2)]
    assert problems(*limited) == [
        "order@1 → between@1 → order@2: the child needs a slot of the limit of 'order' that its parent holds until "
        "the child is done: take the child step or the limit out"
    ]


def test_all_that_is_wrong_with_an_app_is_told_at_once() -> None:
    assert len(problems(saga("order", "order"), saga("mail", "post"), saga("mail"))) == 2
    assert len(problems(saga("order", "order"), saga("mail", "post"))) == 2
