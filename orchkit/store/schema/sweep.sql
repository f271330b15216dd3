-- What a sweep removes. Before: the tables asked (cutoff_us, newest, runs, checks_us), wished (run_id), held (run_id, why) and
-- late (payload), see retention.py. After: due, spared, doomed, doomed_event and doomed_blob, all temporary.

-- Each run with the run on top, whose sub-workflows it and the others below belong to.
CREATE OR REPLACE TEMP TABLE member AS
WITH RECURSIVE started AS (
    SELECT run_id, parent_run_id AS parent, seq FROM run_start WHERE run_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq) = 1
), below AS (
    SELECT run_id AS top, run_id FROM started WHERE parent IS NULL OR parent NOT IN (SELECT run_id FROM started)
    UNION
    SELECT b.top, s.run_id FROM below b JOIN started s ON s.parent = b.run_id
)
SELECT s.run_id, s.seq, coalesce(b.top, s.run_id) AS top FROM started s LEFT JOIN below b ON b.run_id = s.run_id;

-- Runs on top, the newest first; over since their end, or since the last event of any of them, or since they were
-- brought here from another store.
CREATE OR REPLACE TEMP TABLE top_run AS
WITH ended AS (SELECT run_id, ts FROM run_ends()), last AS (
    SELECT m.top, max(e.ts) AS ts FROM member m JOIN event e ON e.run_id = m.run_id
    WHERE m.top NOT IN (SELECT run_id FROM ended WHERE run_id IS NOT NULL) GROUP BY m.top
), arrived AS (
    SELECT run_id, max(ts) AS ts FROM run_import GROUP BY run_id
)
SELECT m.run_id, greatest(coalesce(e.ts, l.ts), a.ts) AS over_us, row_number() OVER (ORDER BY m.seq DESC) AS place
FROM member m LEFT JOIN ended e ON e.run_id = m.run_id LEFT JOIN last l ON l.top = m.run_id
    LEFT JOIN arrived a ON a.run_id = m.run_id
WHERE m.run_id = m.top;

CREATE OR REPLACE TEMP TABLE due AS
SELECT t.run_id, t.place FROM top_run t, asked a
WHERE a.runs AND (a.cutoff_us IS NULL OR t.over_us <= a.cutoff_us) AND (a.newest IS NULL OR t.place > a.newest)
  AND t.run_id NOT IN (SELECT m.top FROM wished w JOIN member m ON m.run_id = w.run_id);

CREATE OR REPLACE TEMP TABLE spared AS
SELECT d.run_id, min(h.why) AS why, any_value(d.place) AS place
FROM due d JOIN member m ON m.top = d.run_id JOIN held h ON h.run_id = m.run_id GROUP BY d.run_id;

CREATE OR REPLACE TEMP TABLE doomed AS
SELECT m.run_id, m.run_id = m.top AS on_top FROM member m JOIN due d ON d.run_id = m.top
WHERE m.top NOT IN (SELECT run_id FROM spared);

-- With them go the events of runs whose beginning is not on record, and the story of keys in such runs.
CREATE OR REPLACE TEMP TABLE doomed_event AS
SELECT seq FROM event e
WHERE run_id IN (SELECT run_id FROM doomed)
   OR run_id IS NOT NULL AND run_id NOT IN (SELECT run_id FROM member) AND run_id NOT IN (SELECT run_id FROM held)
UNION ALL
SELECT seq FROM claim_event
WHERE run_id IN (SELECT run_id FROM doomed)
   OR run_id IS NOT NULL AND run_id NOT IN (SELECT run_id FROM member) AND run_id NOT IN (SELECT run_id FROM held);

-- Old health checks, but of each service the last one: how it stands is taken from there.
INSERT INTO doomed_event
SELECT seq FROM health_check c, asked a WHERE a.checks_us IS NOT NULL AND c.ts <= a.checks_us
  AND seq NOT IN (SELECT max(seq) FROM health_check GROUP BY service);

-- A large value stays as long as its hash stands anywhere in an event, in whatever way it is named there.
CREATE OR REPLACE TEMP TABLE doomed_blob AS
WITH said AS (
    SELECT payload FROM event WHERE seq NOT IN (SELECT seq FROM doomed_event) UNION ALL SELECT payload FROM late
)
SELECT hash FROM blob
WHERE hash NOT IN (SELECT unnest(regexp_extract_all(payload, '"([0-9a-f]{64})', 1)) FROM said);
