"""What the commands of a page take for granted, as its module in `tests/docs/given` says it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.docs.python_pages import given

if TYPE_CHECKING:
    from tests.docs.stack import ReadersStack
    from tests.docs.terminal import Terminal

Shown = Mapping[str, str]
"""Text of the page, by what stands for it here."""


@dataclass(frozen=True)
class World:
    """Each field is what the module calls by the field's name in capitals, but for set_out.

    shown: text of the page by what stands for it here, whatever the stack. found: the same, asked for when a command
    needs it. files: what lies in the reader's folder. added: by a file's name, what stands in it beside what the page
    has saved there. environment: what the reader has set.
    """

    shown: Shown = field(default_factory=dict)
    found: "Mapping[str, Callable[[Terminal], str]]" = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    set_out: "Callable[[ReadersStack], Shown | AbstractContextManager[Shown]]" = lambda stack: {}
    """On the stack that all pages share: what happened there before, and what of the page stands for that. As a context
    manager it keeps something up for as long as the page is read."""

    @contextmanager
    def out(self, stack: "ReadersStack") -> Iterator[dict[str, str]]:
        """What stands for the page's text while it is read on that stack."""
        told = self.set_out(stack)
        if isinstance(told, Mapping):
            yield {**self.shown, **told}
        else:
            with told as standing:
                yield {**self.shown, **standing}


def world_of(page: str) -> World:
    module: Any = given(page)
    if module is None:
        return World()
    said = {name: getattr(module, name.upper(), None) for name in World.__dataclass_fields__}
    said["set_out"] = getattr(module, "set_out", None)
    return World(**{name: value for name, value in said.items() if value is not None})
