"""What a deployment configures of its sources, in the environment and in a file, read as it is now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, TypeAdapter, ValidationError

from sagahook.runtime.source_files import (
    Files,
    Stamps,
    Unusable,
    is_reference,
    parse_json,
    read_document,
    resolve,
)
from sagahook.runtime.sources import Source, Sources
from sagahook_schemas.definitions import SourceName

ENVIRONMENT = "SAGAHOOK_SOURCES"
FILE = "SAGAHOOK_SOURCES_FILE"
GITHUB_SECRET = "GITHUB_WEBHOOK_SECRET"  # noqa: S105  # the name of a variable
_FURTHER_GITHUB_SECRETS = tuple(f"{GITHUB_SECRET}_{number}" for number in range(2, 10))

GITHUB = "github"
"""The source that `GITHUB_WEBHOOK_SECRET` configures (api.md §2)."""

SecretField = Literal["secrets", "secret"]

_NAME: TypeAdapter[str] = TypeAdapter(SourceName)
_OTHER_WORDS = {
    "extra_forbidden": f"there is no such option: there are {', '.join(Source.model_fields)}",
    "too_long": "at most 10 secrets are tried: take out those that are no longer used",
}
_FORMS = {
    "header": "it must be the name of a header, such as X-Signature",
    "prefix": "it must be at most 64 printable ASCII characters",
    "username": "it must be a name without a colon or control characters",
}


class SourcesError(ValueError):
    """An operator must correct the configuration. problems: each names the source and the field, and says what to do;
    none holds the value of a secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Problem:
    """source None: it is of the whole. said: where it is, what is wrong and what to do."""

    source: str | None
    said: str

    def __str__(self) -> str:
        return self.said


@dataclass(frozen=True)
class Entry:
    """A source, where it is written, and where its secrets are: the references, which are no secrets."""

    source: Source
    origin: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What the configuration was when it was read. problems: what is wrong, and then `entries` lack it. notes: what is
    valid but probably not meant. stamps: of the files that it depends on, before they were read."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    stamps: Stamps

    @property
    def sources(self) -> Sources:
        """Raises SourcesError."""
        if self.problems:
            raise SourcesError([str(problem) for problem in self.problems])
        return {name: entry.source for name, entry in self.entries.items()}


@dataclass(frozen=True)
class SourceConfiguration:
    """Where sources are configured.

    written: SAGAHOOK_SOURCES, as JSON text or parsed. file: SAGAHOOK_SOURCES_FILE. github_secrets: those of
    GITHUB_WEBHOOK_SECRET. environment: where `env:NAME` is looked up. reads: which secrets this process needs; it
    neither has the others nor complains where they cannot be read.
    """

    written: str | Mapping[str, Any] = field(default_factory=dict, repr=False)
    file: Path | None = None
    github_secrets: tuple[SecretStr, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    reads: frozenset[SecretField] = frozenset({"secrets"})

    @classmethod
    def of(
        cls, environment: Mapping[str, str], reads: frozenset[SecretField] = frozenset({"secrets"})
    ) -> SourceConfiguration:
        """As the services read it from the environment."""
        file = environment.get(FILE, "")
        return cls(
            written=environment.get(ENVIRONMENT, ""),
            file=Path(file) if file else None,
            github_secrets=github_secrets(environment),
            environment=environment,
            reads=reads,
        )

    def __bool__(self) -> bool:
        """Whether anything is configured at all."""
        return bool(self.written or self.file or self.github_secrets)

    def read(self) -> Reading:
        """Reads files, and never fails: what is wrong is among the problems."""
        return _Reader(self).read()


def github_secrets(environment: Mapping[str, str]) -> tuple[SecretStr, ...]:
    """The secrets themselves, in `GITHUB_WEBHOOK_SECRET` and `GITHUB_WEBHOOK_SECRET_2` to `_9`. One of GitHub's may
    hold any character, so that no list could be told from a single one. An empty one is none."""
    found = (environment.get(name, "") for name in (GITHUB_SECRET, *_FURTHER_GITHUB_SECRETS))
    return tuple(SecretStr(secret) for secret in found if secret)


class _Reader:
    """One reading: what was found so far."""

    def __init__(self, configuration: SourceConfiguration) -> None:
        self._of = configuration
        self._files = Files()
        self._problems: list[Problem] = []
        self._notes: list[str] = []

    def read(self) -> Reading:
        tables = self._tables()
        entries: dict[str, Entry] = {}
        for name, (origin, table) in tables.items():
            entry = self._entry(name, table, origin)
            if entry is not None:
                entries[name] = entry
        self._add_github(entries, tables)
        return Reading(entries, tuple(self._problems), tuple(self._notes), self._files.stamps)

    def _tables(self) -> dict[str, tuple[str, Any]]:
        """Each source's options as they are written, and where: the environment's in place of the file's."""
        of_file = self._document(f"{FILE} {self._of.file}", self._from_file)
        of_environment = self._document(ENVIRONMENT, self._from_environment)
        self._notes += [
            f"{name} is in {ENVIRONMENT} and in {self._of.file}: the file's is not used"
            for name in sorted(of_file.keys() & of_environment.keys())
        ]
        return of_file | of_environment

    def _document(self, origin: str, read: Callable[[], Mapping[str, Any]]) -> dict[str, tuple[str, Any]]:
        try:
            return {name: (origin, table) for name, table in read().items()}
        except Unusable as wrong:
            self._problems.append(Problem(None, f"{origin}: {wrong}"))
            return {}

    def _from_file(self) -> Mapping[str, Any]:
        return {} if self._of.file is None else read_document(self._of.file, self._files)

    def _from_environment(self) -> Mapping[str, Any]:
        written = self._of.written
        if isinstance(written, str):
            return parse_json(written) if written.strip() else {}
        return written

    def _entry(self, name: str, table: Any, origin: str) -> Entry | None:
        """None: something is wrong, and is among the problems by now."""
        if isinstance(table, Source):
            return Entry(table, origin)
        at = _Place(name, f"{origin}: {name[:100]}", origin)
        try:
            _NAME.validate_python(name)
        except ValidationError:
            self._wrong(
                at,
                "a source is named by 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
            )
            return None
        if not isinstance(table, Mapping):
            self._wrong(at, 'it must be a table of options, such as {"scheme": "github"}')
            return None
        if name == GITHUB and self._of.github_secrets:
            return self._github(at, table)
        return self._built(at, table)

    def _add_github(self, entries: dict[str, Entry], tables: Mapping[str, object]) -> None:
        if self._of.github_secrets and GITHUB not in tables:
            source = Source(scheme="github", secrets=self._of.github_secrets)
            entries[GITHUB] = Entry(source, GITHUB_SECRET, (GITHUB_SECRET,) * len(source.secrets))

    def _github(self, at: _Place, table: Mapping[str, Any]) -> Entry | None:
        """The source `github`, where GITHUB_WEBHOOK_SECRET is set as well."""
        if table.get("scheme", "github") != "github":
            said = f'{GITHUB_SECRET} is set, which is for the scheme github: write scheme = "github", or unset it'
            self._wrong(at, said, "scheme")
            return None
        if "secrets" in table:
            if not any(each.startswith(f"env:{GITHUB_SECRET}") for each in _shown(table["secrets"])):
                self._notes.append(f"{GITHUB} has secrets in {at.origin}: {GITHUB_SECRET} is not used")
            return self._built(at, {"scheme": "github", **table})
        return self._built(at, {**table, "scheme": "github"}, self._of.github_secrets)

    def _built(self, at: _Place, table: Mapping[str, Any], secrets: Sequence[SecretStr] = ()) -> Entry | None:
        """secrets: those that are not in the table."""
        before = len(self._problems)
        references = (GITHUB_SECRET,) * len(secrets) or _shown(table.get("secrets"))
        values: dict[str, Any] = dict(table)
        if secrets:
            values["secrets"] = tuple(secrets)
        else:
            self._resolve_secrets(at, values)
        self._resolve_secret(at, values)
        unread = "secrets" not in self._of.reads
        try:
            source = Source.model_validate(values, context={"secrets_unread": unread})
        except ValidationError as invalid:
            for inside, said in _told(invalid):
                self._wrong(at, said, inside)
            return None
        return Entry(source, at.origin, references) if len(self._problems) == before else None

    def _resolve_secrets(self, at: _Place, values: dict[str, Any]) -> None:
        """Puts the secrets in place of their references, as far as these are what they must be."""
        written = values.get("secrets")
        if "secrets" not in self._of.reads:
            values.pop("secrets", None)
        elif isinstance(written, str):
            values["secrets"] = (self._value(at, "secrets", written),)
        elif isinstance(written, list | tuple):
            values["secrets"] = tuple(
                self._value(at, f"secrets.{number}", each) if isinstance(each, str) else each
                for number, each in enumerate(written)
            )

    def _resolve_secret(self, at: _Place, values: dict[str, Any]) -> None:
        """`secret` may be a reference as well; written as it is, it begins with whsec_."""
        written = values.get("secret")
        if "secret" not in self._of.reads:
            values.pop("secret", None)
        elif isinstance(written, str) and is_reference(written):
            values["secret"] = self._value(at, "secret", written)

    def _value(self, at: _Place, inside: str, reference: str) -> SecretStr:
        try:
            return SecretStr(resolve(reference, self._of.environment, self._files))
        except Unusable as wrong:
            self._wrong(at, str(wrong), inside)
            return SecretStr("unknown")

    def _wrong(self, at: _Place, said: str, inside: str = "") -> None:
        where = ".".join(filter(None, (at.where, inside)))
        self._problems.append(Problem(at.name, f"{where}: {said}"))


@dataclass(frozen=True)
class _Place:
    """A source in what is read. where: for people."""

    name: str
    where: str
    origin: str


def _shown(written: object) -> tuple[str, ...]:
    """The references, for people to see; not what is none, which may be a secret."""
    each = (written,) if isinstance(written, str) else written if isinstance(written, list | tuple) else ()
    return tuple(one if isinstance(one, str) and is_reference(one) else "(no reference)" for one in each)


def _told(invalid: ValidationError) -> Iterator[tuple[str, str]]:
    """Where in the source, and what is wrong there."""
    for error in invalid.errors(include_url=False, include_context=False, include_input=False):
        said = _OTHER_WORDS.get(error["type"])
        if said is None and error["type"].startswith("string_pattern"):
            said = _FORMS.get(str(error["loc"][0]))
        if said is None:
            said = error["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
        yield ".".join(str(part) for part in error["loc"]), said
