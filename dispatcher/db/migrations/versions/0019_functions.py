"""Functions by which roles without rights on the tables do their part: producers store events, in any language and in
their own transactions, and workers make and remove weekly partitions.

They run with the rights of the tables' owner; nobody else may call them until `dispatcher roles` grants it. A later
version that needs other statements replaces a function's body; one that needs other parameters makes a function with
the next number, and leaves this one for the versions before.
"""
# ruff: noqa: S608 - composed of constants

from alembic import op

revision = "0019"
down_revision = "0018"

# Each operator and function in them is PostgreSQL's own, whatever the caller has put into a schema of theirs.
_RIGHTS = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

# Everything that events bring is an array, with an element for each event. Returns a row for each; the first one with
# its `item` counts. An event without a row has a key that was forgotten at this moment: it is to be stored again.
#
# The first statement: keys first (a key that exists keeps its event out), then the fan-out. It only inserts; it updates
# nothing that is shared. Messages come as texts (`data`), because bytes (`raw`) are twice as long, and take the server
# twice as long to read. A delivery's id is a UUIDv7 with the beginning of its event's, and a hash of both ids in place
# of random bits, which take longer to make than all else. The second statement is for keys that exist: only a new
# snapshot shows those that others have just committed.
#
# Plans are kept for the session, so they are made without knowing the values, and never to read a whole table: one that
# is small now may be large soon.
STORE = f"""
CREATE OR REPLACE FUNCTION dispatcher.store_v1(
  id uuid[], account text[], app text[], type text[], taking text[], subject text[], occurred_at timestamptz[],
  expires_at timestamptz[], data text[], raw bytea[], key text[], digest bytea[],
  traceparent text[], remember interval, scale double precision)
RETURNS TABLE (item text, outcome text, event_id text, deliveries integer, said double precision)
LANGUAGE plpgsql {_RIGHTS} SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  settled integer;
BEGIN
  RETURN QUERY
  WITH input AS (
    SELECT i.id, i.app, i.type, i.taking, i.subject, i.occurred_at, i.expires_at, i.key, i.digest,
           i.traceparent, i.place,
           coalesce(i.raw, convert_to(i.data, 'UTF8')) AS data, a.id AS account_id, a.number AS account_no,
           a.suspended_at IS NOT NULL AS suspended
    FROM unnest(store_v1.id, store_v1.account, store_v1.app, store_v1.type, store_v1.taking, store_v1.subject,
                store_v1.occurred_at, store_v1.expires_at, store_v1.data, store_v1.raw, store_v1.key, store_v1.digest,
                store_v1.traceparent)
         WITH ORDINALITY
         AS i(id, account, app, type, taking, subject, occurred_at, expires_at, data, raw, key, digest, traceparent,
              place)
    LEFT JOIN dispatcher.accounts a ON a.name = i.account AND a.deleted_at IS NULL),
  keyed AS (
    INSERT INTO dispatcher.idempotency_keys (account_id, key, event_id, digest, expires_at)
    SELECT account_id, key, id, digest, now() + store_v1.remember FROM input
    WHERE key IS NOT NULL AND account_id IS NOT NULL AND NOT suspended ORDER BY account_id, key, place
    ON CONFLICT DO NOTHING RETURNING event_id),
  fresh AS (
    SELECT * FROM input
    WHERE account_id IS NOT NULL AND NOT suspended AND (key IS NULL OR id IN (SELECT event_id FROM keyed))),
  matched AS MATERIALIZED (
    SELECT DISTINCT f.id AS event_id, f.account_no, octet_length(f.data) AS size, f.expires_at, s.webhook_id
    FROM fresh f CROSS JOIN LATERAL (
      -- Each along the index. With OR, the subscriptions of all apps would be read.
      SELECT webhook_id FROM dispatcher.subscriptions
      WHERE account_id = f.account_id AND event_type = ANY(string_to_array(f.taking, ' ')) AND app IS NULL
      UNION ALL
      SELECT webhook_id FROM dispatcher.subscriptions
      WHERE account_id = f.account_id AND event_type = ANY(string_to_array(f.taking, ' ')) AND app = f.app) s),
  counted AS (
    SELECT f.id, count(m.event_id)::integer AS deliveries FROM fresh f LEFT JOIN matched m ON m.event_id = f.id
    GROUP BY f.id),
  stored AS (
    INSERT INTO dispatcher.events (id, account_id, app, type, subject, occurred_at, expires_at, delivery_count, data,
                                   traceparent)
    SELECT f.id, f.account_id, f.app, f.type, f.subject, f.occurred_at, f.expires_at, c.deliveries, f.data,
           f.traceparent
    FROM fresh f JOIN counted c USING (id)),
  opened AS (
    INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, due_at, give_up_at)
    SELECT encode(overlay(uuid_send(m.event_id) PLACING substring(
                            int8send(uuid_hash_extended(m.event_id, uuid_hash_extended(m.webhook_id, 0))) FROM 2)
                          FROM 10), 'hex')::uuid,
           m.event_id, m.webhook_id, m.account_no, m.size, 'ready', now(),
           least(now() + w.retry_span * store_v1.scale, m.expires_at)
    FROM matched m JOIN dispatcher.webhooks w ON w.id = m.webhook_id)
  SELECT i.id::text,
         CASE WHEN i.account_id IS NULL THEN 'unknown_account' WHEN i.suspended THEN 'account_suspended'
              ELSE 'stored' END,
         i.id::text, c.deliveries, CAST(extract(epoch FROM statement_timestamp()) AS double precision)
  FROM input i LEFT JOIN counted c USING (id)
  WHERE i.account_id IS NULL OR i.suspended OR c.id IS NOT NULL;
  GET DIAGNOSTICS settled = ROW_COUNT;
  IF settled < cardinality(store_v1.id) THEN
    RETURN QUERY
    SELECT i.id::text, CASE WHEN k.digest = i.digest THEN 'repeated' ELSE 'key_reused' END, k.event_id::text,
           coalesce(e.delivery_count, 0), CAST(extract(epoch FROM statement_timestamp()) AS double precision)
    FROM unnest(store_v1.id, store_v1.account, store_v1.key, store_v1.digest) AS i(id, account, key, digest)
    JOIN dispatcher.accounts a ON a.name = i.account AND a.deleted_at IS NULL
    JOIN dispatcher.idempotency_keys k ON k.account_id = a.id AND k.key = i.key
    LEFT JOIN dispatcher.events e ON e.id = k.event_id;
  END IF;
END
$$
"""

# For backends in any language: the checks, refusals and rows of Python's `enqueue` with a message in JSON as bytes. The
# digest is that of `dispatcher.events.event.content_digest`, for times in UTC.
ENQUEUE = f"""
CREATE OR REPLACE FUNCTION dispatcher.enqueue_v1(
  account text, event_type text, data text, subject text DEFAULT NULL, app text DEFAULT NULL,
  idempotency_key text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
  traceparent text DEFAULT NULL,
  OUT event_id uuid, OUT deliveries integer, OUT repeated boolean)
LANGUAGE plpgsql {_RIGHTS}
AS $$
#variable_conflict use_variable
DECLARE
  wrong text;
  written text;
  digest bytea;
  became record;
  escape CONSTANT text := chr(92) || 'u'; -- no backslash in a literal: it means what the caller's session says
  first CONSTANT timestamptz := '0002-01-01 00:00:00+00';
  last CONSTANT timestamptz := '9998-12-31 23:59:59.999999+00';
BEGIN
  wrong := CASE
    WHEN event_type IS NULL OR length(event_type) > 200
      OR event_type COLLATE "C" !~ '^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+){{0,7}}$'
      THEN 'event_type must be dotted parts of letters, digits, ''_'' and ''-'': at most 8 parts, 200 characters'
    WHEN coalesce(length(account), 0) NOT BETWEEN 1 AND 255 THEN 'account must have 1 to 255 characters'
    WHEN length(app) NOT BETWEEN 1 AND 255 THEN 'app must have 1 to 255 characters'
    WHEN length(subject) NOT BETWEEN 1 AND 255 THEN 'subject must have 1 to 255 characters'
    WHEN length(idempotency_key) NOT BETWEEN 1 AND 255 THEN 'idempotency_key must have 1 to 255 characters'
    WHEN occurred_at NOT BETWEEN first AND last THEN 'occurred_at must be in the years 2 to 9998'
    WHEN expires_at NOT BETWEEN first AND last THEN 'expires_at must be in the years 2 to 9998'
    WHEN data IS NULL THEN 'data is not JSON: it is NULL'
    WHEN octet_length(data) > 262144
      THEN format('data is %s bytes long, more than the 262144 allowed', octet_length(data))
  END;
  IF wrong IS NULL THEN
    BEGIN
      PERFORM data::json;
    EXCEPTION -- its own text may contain a part of the message
      WHEN invalid_text_representation THEN wrong := 'data is not JSON';
      WHEN statement_too_complex THEN wrong := 'data is nested too deeply';
    END;
  END IF;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'WH001', MESSAGE = wrong, COLUMN = split_part(wrong, ' ', 1),
      HINT = 'Correct the event: unchanged, it is refused again.';
  END IF;
  IF idempotency_key IS NOT NULL THEN
    SELECT '[' || string_agg(coalesce(to_json(g.part)::text, 'null'), ', ' ORDER BY g.place) || ']' INTO written
    FROM unnest(ARRAY[event_type, app, subject,
      replace(to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || '+00:00',
      replace(to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || '+00:00'])
      WITH ORDINALITY AS g(part, place);
    IF written COLLATE "C" ~ '[^ -~]' THEN
      SELECT string_agg(CASE
        WHEN c.code BETWEEN 32 AND 126 THEN chr(c.code)
        WHEN c.code < 65536 THEN escape || lpad(to_hex(c.code), 4, '0')
        ELSE escape || to_hex(55296 + ((c.code - 65536) >> 10)) || escape || to_hex(56320 + ((c.code - 65536) & 1023))
      END, '' ORDER BY c.place) INTO written
      FROM (SELECT ascii(r.letter) AS code, r.place
            FROM regexp_split_to_table(written, '') WITH ORDINALITY AS r(letter, place)) c;
    END IF;
    digest := sha256(convert_to(written, 'UTF8') || decode('00', 'hex') || convert_to(data, 'UTF8'));
  END IF;
  LOOP
    SELECT s.* INTO became FROM dispatcher.store_v1(
      ARRAY[encode(
        (SELECT int8send((m.us / 1000 << 16) | (7 << 12) | (mod(m.us, 1000) * 4096 / 1000))
         FROM (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS us) m)
        || substring(uuid_send(gen_random_uuid()) FROM 9), 'hex')::uuid],
      ARRAY[account], ARRAY[app], ARRAY[event_type],
      ARRAY[(SELECT '*' || string_agg(' ' || array_to_string(p.parts[1:p.n], '.'), '' ORDER BY p.n)
             FROM (SELECT parts, generate_series(1, cardinality(parts)) AS n
                   FROM string_to_array(event_type, '.') AS parts) p)],
      ARRAY[subject], ARRAY[coalesce(occurred_at, clock_timestamp())], ARRAY[expires_at], ARRAY[data],
      ARRAY[NULL::bytea], ARRAY[idempotency_key], ARRAY[digest],
      ARRAY[CASE -- as `dispatcher.events.event.read_traceparent`
        WHEN traceparent COLLATE "C" ~
          '^(?!ff)[0-9a-f]{{2}}-(?!0{{32}})[0-9a-f]{{32}}-(?!0{{16}})[0-9a-f]{{16}}-[0-9a-f]{{2}}(-|$)'
          AND (length(traceparent) = 55 OR NOT starts_with(traceparent, '00'))
        THEN '00' || substr(traceparent, 3, 53)
      END], interval '7 days', 1) s
    LIMIT 1;
    EXIT WHEN FOUND;
  END LOOP;
  CASE became.outcome
    WHEN 'unknown_account' THEN
      RAISE EXCEPTION USING ERRCODE = 'WH002', MESSAGE = format('there is no account %L', account), COLUMN = 'account',
        HINT = 'Make it with `dispatcher account create`, then enqueue again.';
    WHEN 'account_suspended' THEN
      RAISE EXCEPTION USING ERRCODE = 'WH003', MESSAGE = format('the account %L is suspended', account),
        COLUMN = 'account', HINT = 'Enqueue again once an operator has resumed it.';
    WHEN 'key_reused' THEN
      RAISE EXCEPTION USING ERRCODE = 'WH004', COLUMN = 'idempotency_key',
        MESSAGE = format('the idempotency key %L was used before for an event with other content', idempotency_key),
        HINT = 'Probably a defect of the producer: one key for two events.';
    ELSE
      event_id := became.event_id;
      deliveries := became.deliveries;
      repeated := became.outcome = 'repeated';
  END CASE;
END
$$
"""

SUBSCRIBED_TYPES = f"""
CREATE OR REPLACE FUNCTION dispatcher.subscribed_types_v1(
  account text, app text, looked_at integer, compared integer) RETURNS SETOF text
LANGUAGE sql STABLE {_RIGHTS}
AS $$
SELECT DISTINCT l.event_type FROM (
  SELECT s.event_type, s.app FROM dispatcher.subscriptions s JOIN dispatcher.accounts a ON a.id = s.account_id
  WHERE a.name = subscribed_types_v1.account ORDER BY s.event_type LIMIT subscribed_types_v1.looked_at) l
WHERE l.app IS NULL OR l.app = subscribed_types_v1.app ORDER BY l.event_type LIMIT subscribed_types_v1.compared
$$
"""

INSTALLATION_ID = f"""
CREATE OR REPLACE FUNCTION dispatcher.installation_id_v1() RETURNS uuid
LANGUAGE sql STABLE {_RIGHTS}
AS $$ SELECT id FROM dispatcher.installation $$
"""

# The lock comes first: of two at once, the second then sees what the first has made. It is one that only others who
# change the table wait for.
BEGIN_PARTITION = f"""
CREATE OR REPLACE FUNCTION dispatcher.begin_partition_v1(
  parent text, week text, first uuid, until uuid, checked boolean) RETURNS text
LANGUAGE plpgsql {_RIGHTS}
AS $$
DECLARE
  name text := week;
  number integer := 1;
BEGIN
  IF parent NOT IN ('events', 'requests', 'attempts', 'audit') OR NOT starts_with(week, parent || '_') THEN
    RAISE EXCEPTION '% is no partition of %', week, parent USING ERRCODE = 'insufficient_privilege';
  END IF;
  EXECUTE format('LOCK TABLE ONLY dispatcher.%I IN SHARE UPDATE EXCLUSIVE MODE', parent);
  -- One that is being detached CONCURRENTLY takes no rows any more, but its range is not free yet.
  IF EXISTS (
    SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM [(](.+)[)] TO [(](.+)[)]') AS m(bound)
    WHERE i.inhparent = to_regclass('dispatcher.' || parent)
      AND CASE m.bound[1] WHEN 'MINVALUE' THEN true ELSE btrim(m.bound[1], '''')::uuid < until END
      AND CASE m.bound[2] WHEN 'MAXVALUE' THEN true ELSE btrim(m.bound[2], '''')::uuid > first END) THEN
    RETURN NULL;
  END IF;
  WHILE to_regclass(format('dispatcher.%I', name)) IS NOT NULL LOOP -- one that somebody has detached
    number := number + 1;
    name := week || '_' || number;
  END LOOP;
  EXECUTE format('CREATE TABLE dispatcher.%I (LIKE dispatcher.%I INCLUDING ALL%s)', name, parent,
    CASE WHEN checked THEN format(', CONSTRAINT %I CHECK (id >= %L AND id < %L)', week || '_apart', first, until) END);
  RETURN name;
END
$$
"""

ATTACH_PARTITION = f"""
CREATE OR REPLACE FUNCTION dispatcher.attach_partition_v1(parent text, week text, first uuid, until uuid) RETURNS void
LANGUAGE plpgsql {_RIGHTS}
AS $$
BEGIN
  IF parent NOT IN ('events', 'requests', 'attempts', 'audit') OR NOT starts_with(week, parent || '_') THEN
    RAISE EXCEPTION '% is no partition of %', week, parent USING ERRCODE = 'insufficient_privilege';
  END IF;
  EXECUTE format('ALTER TABLE dispatcher.%I ATTACH PARTITION dispatcher.%I FOR VALUES FROM (%L) TO (%L)',
    parent, week, first, until);
  EXECUTE format('COMMENT ON TABLE dispatcher.%I IS NULL', week);
END
$$
"""

# Beside its readers only its owner can detach one, because that is not possible in a function. So this keeps everybody
# out of the table, unless the owner was stopped while he detached it: then it ends that. The caller's `lock_timeout`
# says for how long. What it marks can be dropped, and nothing else; nor can a week that is not over.
DETACH_WEEK = f"""
CREATE OR REPLACE FUNCTION dispatcher.detach_week_v1(parent text, week text) RETURNS void
LANGUAGE plpgsql {_RIGHTS}
AS $$
DECLARE
  found record;
BEGIN
  SELECT i.inhdetachpending AS is_pending,
         regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM [(]''(.+)''[)] TO [(]''(.+)''[)]') AS bound INTO found
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = to_regclass('dispatcher.' || quote_ident(parent)) AND c.relname = week
    AND parent IN ('events', 'requests', 'attempts', 'audit');
  IF found.bound IS NULL
     OR ('x' || substring(encode(uuid_send(found.bound[2]::uuid), 'hex') FOR 12))::bit(48)::bigint
        > extract(epoch FROM now() - interval '1 day') * 1000 THEN
    RAISE EXCEPTION '% is no week of % that is over', week, parent USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF found.is_pending THEN
    EXECUTE format('ALTER TABLE dispatcher.%I DETACH PARTITION dispatcher.%I FINALIZE', parent, week);
  ELSE
    EXECUTE format('LOCK TABLE ONLY dispatcher.%I IN ACCESS EXCLUSIVE MODE', parent);
    EXECUTE format('ALTER TABLE dispatcher.%I DETACH PARTITION dispatcher.%I', parent, week);
  END IF;
  EXECUTE format('COMMENT ON TABLE dispatcher.%I IS %L', week,
    format('dispatcher removes this week: %s %s %s', parent, found.bound[1], found.bound[2]));
END
$$
"""

# Takes the mark from a week that the owner has begun to remove.
KEEP_WEEK = f"""
CREATE OR REPLACE FUNCTION dispatcher.keep_week_v1(week text) RETURNS void
LANGUAGE plpgsql {_RIGHTS}
AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_class c
    WHERE c.oid = to_regclass(format('dispatcher.%I', week)) AND c.relispartition
      AND starts_with(obj_description(c.oid, 'pg_class'), 'dispatcher removes this week: ')) THEN
    RAISE EXCEPTION '% is no week that is marked', week USING ERRCODE = 'insufficient_privilege';
  END IF;
  EXECUTE format('COMMENT ON TABLE dispatcher.%I IS NULL', week);
END
$$
"""

DROP_WEEK = f"""
CREATE OR REPLACE FUNCTION dispatcher.drop_week_v1(week text) RETURNS void
LANGUAGE plpgsql {_RIGHTS}
AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_class c
    WHERE c.oid = to_regclass(format('dispatcher.%I', week)) AND c.relkind = 'r' AND NOT c.relispartition
      AND starts_with(obj_description(c.oid, 'pg_class'), 'dispatcher removes this week: ')) THEN
    RAISE EXCEPTION '% is no week that was detached', week USING ERRCODE = 'insufficient_privilege';
  END IF;
  EXECUTE format('DROP TABLE dispatcher.%I', week);
END
$$
"""


def upgrade() -> None:
    for function in (
        STORE,
        ENQUEUE,
        SUBSCRIBED_TYPES,
        INSTALLATION_ID,
        BEGIN_PARTITION,
        ATTACH_PARTITION,
        DETACH_WEEK,
        KEEP_WEEK,
        DROP_WEEK,
    ):
        op.execute(function)
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dispatcher FROM PUBLIC")
