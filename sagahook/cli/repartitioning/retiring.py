"""Deletes what is left of a generation of topics after everything has moved."""

from __future__ import annotations

from sagahook.runtime.topics import TopicsMismatch, found_topics, open_admin
from sagahook_schemas.generations import filled_from, moved_to


async def retired(bootstrap: str, prefix: str, *, delete: bool) -> list[str]:
    """The names of its topics. The one that tells where everything is stays, so that no service begins there anew.
    Raises TopicsMismatch where the generation is in use, KafkaError, OSError."""
    async with open_admin(bootstrap) as admin:
        names = await admin.list_topics()
        target = moved_to(prefix, names)
        if target is None:
            raise TopicsMismatch(
                f"nothing has moved from the topics of {prefix}: they are in use, and nothing was deleted"
            )
        if filled_from(target, names):
            raise TopicsMismatch(
                f"the topics of {target} are not complete: end it by `sagahook topics repartition --prefix {prefix}`"
            )
        found = sorted(await found_topics(admin, prefix))
        if delete and found:
            await admin.delete_topics(found)
    return found
