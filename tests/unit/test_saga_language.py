"""What a saga class says, and what it is told when it cannot work."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagahook.saga
from sagahook.saga import (
    AppError,
    DefinitionError,
    Retry,
    Saga,
    SagaApp,
    StepContext,
    compensate,
    load_app,
    step,
    trigger,
)
from sagahook_schemas.definitions import RateLimit, SagaDefinition, TriggerDefinition


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


def definition_of(**options: Any) -> TriggerDefinition:
    """The trigger of a saga that has but one."""

    def accept(self: object, event: Any) -> dict[str, Any]:
        return {}

    (found,) = saga(accept=trigger(source="shop", **options)(accept)).definition.triggers
    return found


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


def test_every_name_that_the_language_promises_is_there_and_no_other() -> None:
    for name in sagahook.saga.__all__:
        assert getattr(sagahook.saga, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'htpp_step'"):
        sagahook.saga.htpp_step  # type: ignore[attr-defined]  # noqa: B018  # that is the mistake


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


@pytest.mark.parametrize("key", [(), ("a", "b..c"), ("a", 7), 7, b"a"])
def test_several_idempotency_keys_are_each_a_dotted_path(key: Any) -> None:
    with pytest.raises(DefinitionError, match="the trigger of 'shop': idempotency_key"):
        trigger(source="shop", idempotency_key=key)


def test_a_trigger_is_identified_by_one_field_by_several_or_by_code() -> None:
    def keyed(key: Any) -> tuple[tuple[str, ...], bool]:
        found = definition_of(idempotency_key=key)
        return found.identifying, found.keyed_by_code

    assert keyed("a.b") == (("a.b",), False)
    assert keyed(("a", "b.c")) == (("a", "b.c"), False)
    assert keyed(["a"]) == (("a",), False)
    assert keyed(lambda event: event["id"]) == ((), True)
    assert keyed(None) == ((), False)


@pytest.mark.parametrize("option", ["when", "idempotency_key"])
def test_what_a_trigger_asks_of_the_event_is_a_function_that_is_not_async(option: str) -> None:
    async def later(event: Any) -> bool:
        return True

    asking: Any = {option: later}
    with pytest.raises(
        DefinitionError, match=f"{option} must be a function of the webhook's body that is not async"
    ):
        trigger(source="shop", **asking)


def test_when_is_a_function() -> None:
    with pytest.raises(DefinitionError, match="when must be a function"):
        trigger(source="shop", when=True)  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("10/s", RateLimit(count=10, per=1)),
        ("100/min", RateLimit(count=100, per=60)),
        (" 5 / hour ", RateLimit(count=5, per=3600)),
        ("1/day", RateLimit(count=1, per=86_400)),
        (RateLimit(count=3, per=2.5), RateLimit(count=3, per=2.5)),
    ],
)
def test_a_rate_is_so_many_starts_in_a_time(given: Any, rate: RateLimit) -> None:
    assert definition_of(rate_limit=given).rate_limit == rate


@pytest.mark.parametrize("rate", ["10", "0/s", "-1/s", "1.5/s", "10/fortnight", "", 10])
def test_what_is_no_rate_is_told_with_what_is_one(rate: Any) -> None:
    with pytest.raises(DefinitionError, match=r'such as "10/s" or "100/min"'):
        trigger(source="shop", rate_limit=rate)


def test_a_limit_is_above_0_and_counted_by_a_dotted_path() -> None:
    found = definition_of(max_concurrent=2, concurrency_key="repo.id")
    assert (found.max_concurrent, found.concurrency_key) == (2, "repo.id")
    with pytest.raises(DefinitionError, match="max_concurrent"):
        trigger(source="shop", max_concurrent=0)
    with pytest.raises(DefinitionError, match="concurrency_key must be a dotted path"):
        trigger(source="shop", max_concurrent=1, concurrency_key="a..b")
    with pytest.raises(DefinitionError, match="add max_concurrent or rate_limit"):
        trigger(source="shop", concurrency_key="a")


def test_everything_that_is_wrong_with_a_trigger_is_told_at_once() -> None:
    with pytest.raises(DefinitionError) as refused:
        trigger(source="", idempotency_key=".", rate_limit="fast")
    assert len(refused.value.problems) == 3


def test_compensate_needs_to_be_told_the_step() -> None:
    with pytest.raises(DefinitionError, match=r'say which step it undoes: @compensate\("charge"\)'):
        saga(charge=stepping(), refund=compensate(undo))  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize("method", ["action", "compensation", "handler", "definition", "actions"])
def test_a_step_never_takes_the_name_of_something_that_the_engine_uses(method: str) -> None:
    with pytest.raises(DefinitionError, match=f"{method}.*is used by the engine"):
        saga(**{method: stepping("charge")})


# -- apps -------------------------------------------------------------------------------------------------------


def test_only_the_newest_version_of_a_saga_triggers_but_every_one_is_deployed() -> None:
    first, second, other = saga(), saga(version=2), saga("Refund")
    app = SagaApp([second(), first(), other()])
    assert {each.definition.key for each in app.newest()} == {"order@2", "refund@1"}
    assert {each.key for each in app.definitions()} == {"order@1", "order@2", "refund@1"}
    assert isinstance(app.get("order", 1), first)
    assert app.get("order", 3) is None


def test_two_sagas_of_one_name_and_version_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two sagas are named 'order' and have version 1"):
        SagaApp([saga()(), saga()()])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to write modules in; what they import is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


SAGA = "from sagahook.saga import Saga\nclass Order(Saga): ...\n"


def test_an_app_is_a_module_found_beside_the_person_who_started_it(folder: Path) -> None:
    (folder / "my_orders.py").write_text(SAGA)
    assert [each.name for each in load_app("my_orders").newest()] == ["order"]


def test_an_app_is_a_file_wherever_it_is_and_its_neighbours_can_be_imported(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "neighbour.py").write_text("VERSION = 4\n")
    (folder / "deep" / "my_file.py").write_text(
        "from neighbour import VERSION\n" + SAGA.replace("...", "version = VERSION")
    )
    (found,) = load_app("deep/my_file.py").definitions()
    assert found.key == "order@4"


def test_an_app_may_gather_the_sagas_of_other_modules_under_several_names(folder: Path) -> None:
    (folder / "my_sagas.py").write_text(SAGA)
    (folder / "my_app.py").write_text("from my_sagas import Order\nAgain = Order\nSTEPS = 3\n")
    assert len(load_app("my_app").definitions()) == 1


def test_a_missing_module_is_named_with_what_to_do(folder: Path) -> None:
    with pytest.raises(AppError) as refused:
        load_app("no_such_module")
    assert str(refused.value) == (
        "there is no module no_such_module: run from the folder that holds it, or install its package"
    )
    (folder / "my_package").mkdir()
    with pytest.raises(AppError, match=r"there is no module my_package\.sagas"):
        load_app("my_package.sagas")


@pytest.mark.parametrize("name", ["", ".", ".orders", "no such module"])
def test_what_is_no_module_name_is_refused_with_what_to_do(folder: Path, name: str) -> None:
    with pytest.raises(AppError, match="there is no module"):
        load_app(name)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(AppError, match=r"there is no file deep/orders\.py"):
        load_app("deep/orders.py")


def test_a_missing_dependency_is_named_and_not_mistaken_for_the_app(folder: Path) -> None:
    (folder / "needy.py").write_text("import no_such_package.inside\n" + SAGA)
    with pytest.raises(AppError) as refused:
        load_app("needy")
    assert str(refused.value) == "the module needy needs no_such_package, which is not installed"


def test_a_module_without_sagas_is_refused(folder: Path) -> None:
    (folder / "empty.py").write_text("from sagahook.saga import Saga\n")
    with pytest.raises(AppError, match="the module empty holds no saga: define a class that derives from"):
        load_app("empty")


def test_a_file_is_never_mistaken_for_another_module_of_its_name(folder: Path) -> None:
    (folder / "json.py").write_text(SAGA)
    with pytest.raises(AppError, match=r"json\.py cannot be loaded .* another module is called json"):
        load_app("json.py")


def test_a_class_of_the_library_itself_is_not_the_app_s(folder: Path) -> None:
    (folder / "functions.py").write_text("from sagahook.saga.code import CodeSaga\n" + SAGA)
    assert [each.key for each in load_app("functions").definitions()] == ["order@1"]


def test_a_retry_that_cannot_be_is_told_with_its_line(folder: Path) -> None:
    (folder / "stubborn.py").write_text("from sagahook.saga import Retry\n\nOFTEN = Retry(max=-1)\n" + SAGA)
    with pytest.raises(DefinitionError, match=r"stubborn\.py, line 3: Retry: max: .* not -1"):
        load_app("stubborn")


def test_what_is_wrong_with_a_saga_is_said_by_loading_it(folder: Path) -> None:
    (folder / "wrong.py").write_text(SAGA.replace("...", "version = 0"))
    with pytest.raises(DefinitionError, match="Order: the version"):
        load_app("wrong")
