"""Where the API is, an admin's key, the database that is backed up, and another one to restore it into."""

from tests.docs.stack import ReadersStack, new_database


def set_out(stack: ReadersStack) -> dict[str, str]:
    kafka = stack.description["kafka"]
    return {
        "$API": stack.description["api"],
        "$ADMIN_KEY": stack.description["keys"]["admin"],
        'pg_dump "$DATABASE_URL"': f"pg_dump '{stack.description['postgres']}'",
        # The restored notifier's views come of a log of their own: the stack's is read already.
        "pg_restore": (
            f"export DATABASE_URL='{new_database(stack, 'restored')}'"
            f" SAGAHOOK_KAFKA={kafka} SAGAHOOK_TOPIC_PREFIX=restored\n"
            "sagahook topics apply\npg_restore"
        ),
    }
