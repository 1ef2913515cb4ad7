"""What a saga class says, and what it is told when it cannot work."""

from typing import Any

import pytest

from sagahook.saga import (
    DefinitionError,
    Retry,
    Saga,
    StepContext,
    compensate,
    step,
    trigger,
)
from sagahook_schemas.definitions import SagaDefinition


class Order(Saga):
    @trigger(source="shop", event="order.created", idempotency_key="order.id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return {"id": event["order"]["id"]}

    @step
    async def reserve(self, ctx: StepContext) -> str:
        return "reserved"

    @compensate("reserve", timeout=5)
    async def release(self, ctx: StepContext, result: object) -> None: ...

    @step("charge", timeout=2.5, retry=Retry(max=7))
    def take_the_money(self, ctx: StepContext) -> int:
        return 7

    @step()
    async def ship(self, ctx: StepContext) -> None: ...


def names(definition: SagaDefinition) -> list[str]:
    return [each.name for each in definition.steps]


def test_a_class_is_a_definition_with_its_steps_in_the_order_written() -> None:
    definition = Order.definition
    assert (definition.name, definition.version) == ("order", 1)
    assert names(definition) == ["reserve", "charge", "ship"]
    assert [each.timeout for each in definition.steps] == [30, 2.5, 30]
    assert definition.by_name["charge"].retry.max == 7
    reserve = definition.by_name["reserve"]
    assert reserve.compensation is not None
    assert reserve.compensation.timeout == 5
    assert definition.by_name["ship"].compensation is None


def test_a_trigger_says_which_webhooks_it_wants() -> None:
    (found,) = Order.definition.triggers
    assert (found.source, found.event, found.idempotency_key) == ("shop", "order.created", "order.id")
    assert found.wants("shop", "order.created")
    assert not found.wants("shop", "order.paid")
    assert not found.wants("bank", "order.created")


def test_an_instance_finds_what_does_each_step() -> None:
    order = Order()
    assert order.action("charge") == order.take_the_money
    assert order.compensation("reserve") == order.release
    assert order.handler(0) == order.accept


def test_one_handler_may_have_several_triggers_and_a_saga_several_handlers() -> None:
    class Refund(Saga):
        @trigger(source="shop")
        @trigger(source="bank")
        def accept(self, event: Any) -> dict[str, Any]:
            return {}

        @trigger(source="desk")
        def by_hand(self, event: Any) -> dict[str, Any]:
            return {}

    by_source = {
        each.source: Refund.handlers[number] for number, each in enumerate(Refund.definition.triggers)
    }
    assert by_source == {"shop": "accept", "bank": "accept", "desk": "by_hand"}


def test_the_name_is_the_class_name_in_snake_case_unless_given() -> None:
    class BuyerOrder(Saga): ...

    class Renamed(Saga):
        name = "orders_2"
        version = 3

    assert BuyerOrder.definition.key == "buyer_order@1"
    assert Renamed.definition.key == "orders_2@3"


def test_the_same_class_always_has_the_same_hash_and_a_changed_step_another() -> None:
    def order_class(timeout: float) -> type[Saga]:
        class Order(Saga):
            @step(timeout=timeout)
            async def charge(self, ctx: StepContext) -> None: ...

        return Order

    assert order_class(5).definition.hash == order_class(5).definition.hash
    assert order_class(5).definition.hash != order_class(6).definition.hash


# -- inheritance ------------------------------------------------------------------------------------------------


def test_a_derived_saga_has_the_steps_of_its_base_first_and_a_name_of_its_own() -> None:
    class Gift(Order):
        @step
        async def wrap(self, ctx: StepContext) -> None: ...

    assert Gift.definition.key == "gift@1"
    assert names(Gift.definition) == ["reserve", "charge", "ship", "wrap"]
    assert names(Order.definition) == ["reserve", "charge", "ship"]


def test_a_derived_saga_may_replace_a_step_in_its_place() -> None:
    class Careful(Order):
        @step(timeout=99)
        async def reserve(self, ctx: StepContext) -> str:
            return "twice"

    assert names(Careful.definition) == ["reserve", "charge", "ship"]
    assert Careful.definition.by_name["reserve"].timeout == 99


def test_a_derived_saga_may_leave_a_step_out_but_not_by_forgetting_its_mark() -> None:
    class Download(Order):
        ship = None  # type: ignore[assignment]  # a step of the base class is left out

    assert names(Download.definition) == ["reserve", "charge"]
    with pytest.raises(DefinitionError, match=r"Forgetful\.ship replaces a marked method .* without a mark"):

        class Forgetful(Order):
            async def ship(self, ctx: StepContext) -> None: ...


# -- what cannot work -------------------------------------------------------------------------------------------


def undo(self: object, ctx: StepContext, result: object) -> None: ...


def saga(class_name: str = "Order", **members: Any) -> type[Saga]:
    """A saga class made now, so that a test can see how that fails."""
    return type(class_name, (Saga,), members)


def stepping(*args: Any, **options: Any) -> Any:
    async def action(self: object, ctx: StepContext) -> None: ...

    return step(*args, **options)(action)


def undoing(name: str, **options: Any) -> Any:
    async def undo(self: object, ctx: StepContext, result: object) -> None: ...

    return compensate(name, **options)(undo)


def test_a_step_has_one_compensation() -> None:
    with pytest.raises(DefinitionError, match="the step 'charge' has two compensations"):
        saga(charge=stepping(), refund=undoing("charge"), again=undoing("charge"))


def test_a_compensation_needs_its_step() -> None:
    with pytest.raises(DefinitionError) as refused:
        saga(charge=stepping(), ship=stepping(), refund=undoing("chrage"))
    assert str(refused.value) == (
        "Order.refund compensates the step 'chrage', which does not exist; the steps are: charge, ship"
    )


def test_two_steps_never_share_a_name() -> None:
    with pytest.raises(DefinitionError, match="two steps are named 'charge'"):
        saga(charge=stepping(), pay=stepping("charge"))


@pytest.mark.parametrize("name", ["Charge", "1st", "charge-card", "", " ", "ß", "charge\n", "a" * 65, "a/b"])
def test_a_name_is_lower_case_letters_digits_and_underscores(name: str) -> None:
    with pytest.raises(DefinitionError, match=r"must be lower-case letters, digits and _"):
        saga(name=name)
    if name:
        with pytest.raises(DefinitionError, match=r"must be lower-case letters, digits and _"):
            saga(charge=stepping(name))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e12, "soon"])
def test_a_time_out_is_above_0_and_at_most_a_year(seconds: Any) -> None:
    with pytest.raises(DefinitionError, match="Order: the step 'charge': timeout"):
        saga(charge=stepping(timeout=seconds))
    with pytest.raises(DefinitionError, match="Order: the compensation of the step 'charge': timeout"):
        saga(charge=stepping(), refund=undoing("charge", timeout=seconds))


@pytest.mark.parametrize("version", [0, -1, "2", 1.5, True, None])
def test_a_version_is_a_whole_number_from_1(version: Any) -> None:
    with pytest.raises(DefinitionError, match=r"Order: the version must be a whole number from 1"):
        saga(version=version)


@pytest.mark.parametrize("source", ["", "a b", "../x", "a/b", "é", None])
def test_a_source_is_what_can_stand_in_the_path_of_a_webhook(source: Any) -> None:
    with pytest.raises(DefinitionError, match=r"trigger.*source"):
        trigger(source=source)


@pytest.mark.parametrize("path", ["", ".", "order.", ".id", "a..b"])
def test_an_idempotency_key_is_a_dotted_path(path: str) -> None:
    with pytest.raises(DefinitionError, match="idempotency_key"):
        trigger(source="shop", idempotency_key=path)


def test_compensate_needs_to_be_told_the_step() -> None:
    with pytest.raises(DefinitionError, match=r'say which step it undoes: @compensate\("charge"\)'):
        saga(charge=stepping(), refund=compensate(undo))  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize("method", ["action", "compensation", "handler", "definition", "actions"])
def test_a_step_never_takes_the_name_of_something_that_the_engine_uses(method: str) -> None:
    with pytest.raises(DefinitionError, match=f"{method}.*is used by the engine"):
        saga(**{method: stepping("charge")})
