"""The attributes of runs in the order of lists: a page of those that have one costs the same, however many have it."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    # One row for each attribute of a run by which it can be found.
    """
    CREATE TABLE tracker.attributes (
        attribute  text COLLATE "C" NOT NULL,
        word       text COLLATE "C" NOT NULL,
        started_at timestamptz      NOT NULL,
        number     bigint           NOT NULL,
        saga_id    text             NOT NULL,
        run        bigint           NOT NULL,
        PRIMARY KEY (attribute, word, started_at, number)
    )
    """,
    # The same as domain/attributes.py: a value as whoever searches for it writes it.
    """
    CREATE FUNCTION tracker.words_of(attributes jsonb) RETURNS TABLE (attribute text, word text)
    LANGUAGE sql IMMUTABLE AS $body$
        SELECT left(key, 200),
               left(CASE jsonb_typeof(value)
                        WHEN 'number' THEN trim_scale((value #>> '{}')::numeric)::text
                        ELSE value #>> '{}'
                    END, 200)
        FROM jsonb_each(attributes)
        WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND key <> '$sealed'
    $body$
    """,
    # Kept as an index would be, by whatever version writes a run: attributes, start and number of one never change.
    # Nothing in a body may name the schema, which a rebuild renames. Once for each statement: to plan takes 0.2 ms.
    """
    CREATE FUNCTION tracker.add_attributes() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF EXISTS (SELECT FROM added WHERE attributes IS NOT NULL) THEN
            EXECUTE format($sql$
                INSERT INTO %1$I.attributes (attribute, word, started_at, number, saga_id, run)
                SELECT known.attribute, known.word, coalesce(started_at, '-infinity'), number, saga_id, run
                FROM added CROSS JOIN LATERAL %1$I.words_of(attributes) AS known
                WHERE attributes IS NOT NULL
                ON CONFLICT DO NOTHING
            $sql$, TG_TABLE_SCHEMA);
        END IF;
        RETURN NULL;
    END
    $body$
    """,
    """
    CREATE FUNCTION tracker.remove_attributes() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        EXECUTE format($sql$
            DELETE FROM %1$I.attributes AS kept
            USING removed CROSS JOIN LATERAL %1$I.words_of(removed.attributes) AS known
            WHERE removed.attributes IS NOT NULL
              AND (kept.attribute, kept.word) = (known.attribute, known.word)
              AND (kept.started_at, kept.number) = (coalesce(removed.started_at, '-infinity'), removed.number)
        $sql$, TG_TABLE_SCHEMA);
        RETURN NULL;
    END
    $body$
    """,
    """
    CREATE TRIGGER add_attributes AFTER INSERT ON tracker.runs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tracker.add_attributes()
    """,
    """
    CREATE TRIGGER remove_attributes AFTER DELETE ON tracker.runs REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION tracker.remove_attributes()
    """,
    # Behind the triggers' locks: nobody adds a run meanwhile.
    """
    INSERT INTO tracker.attributes (attribute, word, started_at, number, saga_id, run)
    SELECT known.attribute, known.word, coalesce(started_at, '-infinity'), number, saga_id, run
    FROM tracker.runs CROSS JOIN LATERAL tracker.words_of(attributes) AS known
    WHERE attributes IS NOT NULL
    ON CONFLICT DO NOTHING
    """,
    "DROP INDEX tracker.runs_repository",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
