-- The fetched rows as a table of DuckDB's own, so that Python's objects are read once, not by every statement.
CREATE OR REPLACE TEMP TABLE batch AS
SELECT seq, ts, kind, CAST(run_id AS VARCHAR) AS run_id, CAST(step_id AS VARCHAR) AS step_id,
       CAST(nullif(attempt, -1) AS INTEGER) AS attempt, payload
FROM fetched;

-- The same for rows among which one is not what it should be: a payload that is not JSON is kept as a text in JSON.
CREATE OR REPLACE TEMP TABLE batch AS
SELECT seq, ts, kind, CAST(run_id AS VARCHAR) AS run_id, CAST(step_id AS VARCHAR) AS step_id,
       TRY_CAST(nullif(attempt, -1) AS INTEGER) AS attempt,
       CASE WHEN json_valid(payload) THEN payload ELSE CAST(json_object('malformed', payload) AS VARCHAR) END AS payload
FROM fetched;
