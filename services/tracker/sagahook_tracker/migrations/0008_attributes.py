"""The attributes of runs in the order of lists: a page of those that have one costs the same, however many have it."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    # As retention does it: every transaction of a projector begins there, and would else read runs, wait to write them,
    # and stand in the way of the last statement. Projectors wait until all of this is done; readers do not.
    "LOCK TABLE tracker.offsets IN EXCLUSIVE MODE",
    # One row for each attribute of a run by which it can be found. Start and number are the run's, and tell it from all
    # others; indexes of runs end with them, so that each other filter is one look into an index too.
    """
    CREATE TABLE tracker.attributes (
        attribute  text COLLATE "C" NOT NULL,
        word       text COLLATE "C" NOT NULL,
        started_at timestamptz      NOT NULL,
        number     bigint           NOT NULL,
        PRIMARY KEY (attribute, word, started_at, number)
    )
    """,
    # Whoever writes runs writes this.
    """
    DO $body$
    DECLARE
        granted text;
    BEGIN
        FOR granted IN
            SELECT format(
                'GRANT %s ON tracker.attributes TO %s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
            )
            FROM pg_class, aclexplode(relacl) AS acl
            WHERE pg_class.oid = 'tracker.runs'::regclass AND acl.grantee <> relowner
        LOOP
            EXECUTE granted;
        END LOOP;
    END
    $body$
    """,
    # The same as domain/attributes.py: a value as whoever searches for it writes it.
    """
    CREATE FUNCTION tracker.words_of(attributes jsonb) RETURNS TABLE (attribute text, word text)
    LANGUAGE sql IMMUTABLE AS $body$
        SELECT key,
               left(CASE jsonb_typeof(value)
                        WHEN 'number' THEN trim_scale((value #>> '{}')::numeric)::text
                        ELSE value #>> '{}'
                    END, 200)
        FROM jsonb_each(attributes)
        WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND length(key) <= 200 AND key <> '$sealed'
    $body$
    """,
    # Kept as an index would be, by whatever version writes a run: attributes, start and number of one never change, and
    # what has attributes has started.
    # Nothing in a body may name the schema, which a rebuild renames. Once for each statement: to plan takes 0.2 ms.
    """
    CREATE FUNCTION tracker.add_attributes() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF EXISTS (SELECT FROM added WHERE attributes IS NOT NULL) THEN
            EXECUTE format($sql$
                INSERT INTO %1$I.attributes (attribute, word, started_at, number)
                SELECT known.attribute, known.word, started_at, number
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
        IF EXISTS (SELECT FROM removed WHERE attributes IS NOT NULL) THEN
            EXECUTE format($sql$
                DELETE FROM %1$I.attributes AS kept
                USING removed CROSS JOIN LATERAL %1$I.words_of(removed.attributes) AS known
                WHERE removed.attributes IS NOT NULL
                  AND (kept.attribute, kept.word) = (known.attribute, known.word)
                  AND (kept.started_at, kept.number) = (removed.started_at, removed.number)
            $sql$, TG_TABLE_SCHEMA);
        END IF;
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
    """
    INSERT INTO tracker.attributes (attribute, word, started_at, number)
    SELECT known.attribute, known.word, started_at, number
    FROM tracker.runs CROSS JOIN LATERAL tracker.words_of(attributes) AS known
    WHERE attributes IS NOT NULL
    ON CONFLICT DO NOTHING
    """,
    "DROP INDEX tracker.runs_repository",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
