"""The circuit breaker: a host that keeps failing is left alone for a while, then asked by one call alone.

Pure: time comes as an argument, in seconds of any clock that only goes forward. `admit` and `settle` are the
whole of it; `Circuits` remembers one circuit for each key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

_REMEMBERED = 1_024
"""Circuits beyond which those that have nothing to remember are dropped."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """failures: so many one after the other open the circuit. open_seconds: how long nothing is let through then.
    Raises ValueError."""

    failures: int = 5
    open_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"a breaker's failures must be at least 1, not {self.failures}")
        if not 0 < self.open_seconds <= 3_600:
            raise ValueError(
                f"a breaker's open_seconds must be above 0 and at most 3600, not {self.open_seconds:g}"
            )


DEFAULT_BREAKER = Breaker()


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of one host.

    closed: calls pass; failures: how many failed one after the other. open: none passes before `until`; the first one
    after it does, as the probe. probing: that one is under way; should it never report, another takes its place at
    `until`. turn: grows with each change of state, so that a call which was let through before it is recognised.
    """

    state: Literal["closed", "open", "probing"] = "closed"
    turn: int = 0
    failures: int = 0
    until: float = 0.0


class Ticket(NamedTuple):
    """Let through; given back with the outcome."""

    turn: int


class Refusal(NamedTuple):
    """Not let through. seconds: before then no other call will be, unless the probe succeeds earlier."""

    seconds: float
    probing: bool


Outcome = Literal["succeeded", "failed", "dropped"]
"""dropped: it says nothing about the host: the caller was cancelled, or never got so far."""


def admit(circuit: Circuit, now: float, lease: float) -> tuple[Circuit, Ticket | Refusal]:
    """May a call begin? lease: seconds after which a call that was let through is over in any case."""
    if circuit.state == "closed":
        return circuit, Ticket(circuit.turn)
    if now < circuit.until:
        return circuit, Refusal(circuit.until - now, circuit.state == "probing")
    probing = Circuit("probing", circuit.turn + 1, until=now + lease)
    return probing, Ticket(probing.turn)


def settle(circuit: Circuit, ticket: Ticket, outcome: Outcome, now: float, breaker: Breaker) -> Circuit:
    """The circuit after a call ended. What was let through in an earlier state says nothing about this one."""
    if ticket.turn != circuit.turn or circuit.state == "open":
        return circuit
    if circuit.state == "closed":
        return _closed_after(circuit, outcome, now, breaker)
    match outcome:
        case "succeeded":
            return Circuit("closed", circuit.turn + 1)
        case "failed":
            return Circuit("open", circuit.turn + 1, until=now + breaker.open_seconds)
        case "dropped":  # the next caller is the probe
            return Circuit("open", circuit.turn + 1, until=now)


def _closed_after(circuit: Circuit, outcome: Outcome, now: float, breaker: Breaker) -> Circuit:
    match outcome:
        case "dropped":
            return circuit
        case "succeeded":
            return Circuit("closed", circuit.turn)
        case "failed" if circuit.failures + 1 < breaker.failures:
            return Circuit("closed", circuit.turn, circuit.failures + 1)
        case "failed":
            return Circuit("open", circuit.turn + 1, until=now + breaker.open_seconds)


@dataclass(slots=True)
class Circuits:
    """One circuit for each (host, settings): steps that ask for other settings do not disturb each other. Not for
    several threads at once."""

    _known: dict[tuple[str, Breaker], Circuit] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._known)

    def left_alone(self) -> set[str]:
        """The hosts with a circuit that is not closed."""
        return {host for (host, _), circuit in self._known.items() if circuit.state != "closed"}

    def circuit(self, host: str, breaker: Breaker) -> Circuit:
        return self._known.get((host, breaker), Circuit())

    def admit(self, host: str, breaker: Breaker, now: float, lease: float) -> Ticket | Refusal:
        circuit, answer = admit(self.circuit(host, breaker), now, lease)
        self._remember(host, breaker, circuit)
        return answer

    def settle(self, host: str, breaker: Breaker, ticket: Ticket, outcome: Outcome, now: float) -> None:
        self._remember(host, breaker, settle(self.circuit(host, breaker), ticket, outcome, now, breaker))

    def _remember(self, host: str, breaker: Breaker, circuit: Circuit) -> None:
        self._known[host, breaker] = circuit
        if len(self._known) > _REMEMBERED:
            self._known = {
                key: one for key, one in self._known.items() if one.state != "closed" or one.failures
            }
