-- What people query. JSON nulls become SQL NULLs; times are TIMESTAMP WITH TIME ZONE; durations milliseconds.
CREATE OR REPLACE MACRO at_us(us) AS make_timestamptz(us);
-- Of two moments on the clock of the wall, which may have been set back in between.
CREATE OR REPLACE MACRO span_ms(since_us, until_us) AS
    CASE WHEN until_us < since_us THEN 0.0 ELSE (until_us - since_us) / 1000.0 END;
CREATE OR REPLACE MACRO as_json(text) AS CAST(nullif(text, 'null') AS JSON);

CREATE OR REPLACE VIEW events AS
SELECT seq, at_us(ts) AS ts, kind, run_id, step_id, attempt, CAST(payload AS JSON) AS payload FROM event;

-- Runs that were taken up again: only in these a step may have been scheduled and finished more than once.
CREATE OR REPLACE MACRO resumed_runs() AS TABLE SELECT DISTINCT run_id FROM run_gate WHERE kind = 'run.resumed';
CREATE OR REPLACE MACRO last_step_starts() AS TABLE
FROM step_start s WHERE NOT EXISTS (FROM resumed_runs() r WHERE r.run_id = s.run_id)
UNION ALL
(FROM step_start s WHERE s.run_id IN (FROM resumed_runs())
 QUALIFY row_number() OVER (PARTITION BY s.run_id, s.step_id ORDER BY s.seq DESC) = 1);
-- What did not count any more when a run was taken up again: all of the steps in `again`; with `anew` also what
-- had not succeeded (and was not skipped by hand), and what had been undone.
CREATE OR REPLACE MACRO forgotten() AS TABLE
SELECT r.run_id, r.seq, coalesce(json_extract_string(e.payload, '$.again[*]'), []) AS again,
       coalesce(TRY_CAST(e.payload ->> '$.anew' AS BOOLEAN), FALSE) AS anew
FROM run_resume r JOIN event e ON e.seq = r.seq;
CREATE OR REPLACE MACRO last_step_ends() AS TABLE
WITH last_end AS (
    FROM step_end f WHERE f.run_id IN (FROM resumed_runs())
    QUALIFY row_number() OVER (PARTITION BY f.run_id, f.step_id ORDER BY f.seq DESC) = 1
), item AS (
    SELECT DISTINCT run_id, step_id, parent FROM step_start
    WHERE parent IS NOT NULL AND run_id IN (FROM resumed_runs())
), over AS (
    SELECT DISTINCT f.seq
    FROM forgotten() g JOIN last_end f ON f.run_id = g.run_id AND f.seq < g.seq
        LEFT JOIN item i ON i.run_id = f.run_id AND i.step_id = f.step_id
    WHERE list_contains(g.again, coalesce(i.parent, f.step_id))
       OR (g.anew AND (f.step_id LIKE 'compensate:%'
                       OR f.status <> 'success' AND f.reason IS DISTINCT FROM 'passed over by hand'))
)
FROM step_end f WHERE NOT EXISTS (FROM resumed_runs() r WHERE r.run_id = f.run_id)
UNION ALL
FROM last_end WHERE seq NOT IN (FROM over);

-- The end of a run counts until it is taken up again.
CREATE OR REPLACE MACRO run_ends() AS TABLE
SELECT * FROM run_end e
WHERE NOT EXISTS (SELECT 1 FROM run_gate g WHERE g.run_id = e.run_id AND g.seq > e.seq)
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1;
CREATE OR REPLACE MACRO open_runs() AS TABLE
SELECT run_id FROM run_start EXCEPT
SELECT run_id FROM run_end e WHERE NOT EXISTS (SELECT 1 FROM run_gate g WHERE g.run_id = e.run_id AND g.seq > e.seq);

CREATE OR REPLACE VIEW runs AS
WITH first_start AS (
    SELECT * FROM run_start QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq) = 1
), gate AS (
    SELECT run_id, arg_max(kind, seq) AS last_kind FROM run_gate GROUP BY run_id
), taken_up AS (
    SELECT * FROM run_resume QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1
), brought AS (
    SELECT run_id, max(seq) AS seq FROM run_import GROUP BY run_id
)
SELECT s.run_id, s.kind, s.name, s.workflow_id, s.definition_hash,
       coalesce(e.status, CASE WHEN g.last_kind = 'run.paused' THEN 'paused' ELSE 'running' END) AS status,
       s.user_id, s.session_id, s.casefile_id, s.request_id, s.durability, s.parent_run_id, s.parent_step_id,
       at_us(s.ts) AS started_at, at_us(e.ts) AS finished_at, span_ms(s.ts, e.ts) AS duration_ms, e.error,
       coalesce(t.pid, s.pid) AS pid, coalesce(t.host, s.host) AS host,
       CASE WHEN t.pid IS NULL THEN s.born ELSE t.born END AS born, s.source_run_id,
       -- Until it is taken up here, its process is one that another store has named.
       b.seq IS NOT NULL AND coalesce(t.seq < b.seq, TRUE) AS imported
FROM first_start s LEFT JOIN run_ends() e ON e.run_id = s.run_id LEFT JOIN gate g ON g.run_id = s.run_id
    LEFT JOIN taken_up t ON t.run_id = s.run_id LEFT JOIN brought b ON b.run_id = s.run_id;

-- An attempt without an end goes on, or it was under way when its process ended: then it is in doubt.
CREATE OR REPLACE VIEW attempts AS
SELECT run_id, step_id, attempt, status, at_us(started_us) AS started_at, at_us(ts) AS finished_at,
       duration_us / 1000.0 AS duration_ms, error, error_type, abandoned, coalesce(injected, FALSE) AS injected
FROM attempt_end
UNION ALL
SELECT e.run_id, e.step_id, e.attempt, CASE WHEN e.seq < o.taken_up THEN 'in_doubt' ELSE 'running' END, at_us(e.ts),
       NULL, NULL, NULL, NULL, FALSE, FALSE
FROM event e JOIN (
    SELECT run_id, max(seq) AS taken_up, bool_or(open) AS open
    FROM (SELECT run_id, NULL AS seq, TRUE AS open FROM open_runs()
          UNION ALL SELECT run_id, seq, FALSE FROM run_resume)
    GROUP BY run_id
) o ON o.run_id = e.run_id LEFT JOIN (
    SELECT a.run_id, a.step_id, a.attempt, max(a.seq) AS seq
    FROM attempt_end a WHERE a.run_id IN (SELECT run_id FROM open_runs() UNION SELECT run_id FROM run_resume) GROUP BY ALL
) a ON a.run_id = e.run_id AND a.step_id = e.step_id AND a.attempt = e.attempt
WHERE e.kind = 'attempt.started' AND (a.seq IS NULL OR a.seq < e.seq) AND (o.open OR e.seq < o.taken_up);

CREATE OR REPLACE VIEW steps AS
SELECT f.run_id, f.step_id, f.name, f.node_type, s.parent, f.status, f.attempts,
       at_us(f.started_us) AS scheduled_at, at_us(f.ts) AS finished_at, span_ms(f.started_us, f.ts) AS duration_ms,
       as_json(s.input) AS input, as_json(f.output) AS output, f.error, f.error_type, f.reason
FROM last_step_ends() f LEFT JOIN last_step_starts() s ON s.run_id = f.run_id AND s.step_id = f.step_id
WHERE s.seq IS NULL OR f.seq > s.seq
UNION ALL
SELECT s.run_id, s.step_id, s.name, s.node_type, s.parent, 'running', NULL, at_us(s.ts), NULL, NULL,
       as_json(s.input), NULL, NULL, NULL, NULL
FROM last_step_starts() s JOIN open_runs() o ON o.run_id = s.run_id LEFT JOIN (
    SELECT f.run_id, f.step_id, max(f.seq) AS seq
    FROM step_end f JOIN open_runs() o ON o.run_id = f.run_id GROUP BY ALL
) f ON f.run_id = s.run_id AND f.step_id = s.step_id
WHERE (f.seq IS NULL OR f.seq < s.seq)
  AND NOT EXISTS (FROM run_resume r WHERE r.run_id = s.run_id AND r.seq > s.seq);

CREATE OR REPLACE VIEW decision_traces AS
SELECT d.seq, d.run_id, r.request_id, d.step_id, d.attempt,
       row_number() OVER (PARTITION BY coalesce(r.request_id, d.run_id) ORDER BY d.seq) AS sequence_number,
       d.point AS decision_point, d.decision, d.rationale, as_json(d.alternatives) AS alternatives,
       as_json(d.input_data) AS input_data, as_json(d.output_data) AS output_data,
       as_json(d.evidence) AS evidence, d.duration_ms, d.origin,
       at_us(d.ts) AS created_at
FROM decision d LEFT JOIN (SELECT run_id, any_value(request_id) AS request_id FROM run_start GROUP BY run_id) r
    ON r.run_id = d.run_id;

CREATE OR REPLACE VIEW evidence_bundles AS
SELECT e.seq, e.evidence_id, e.run_id, r.request_id, e.step_id, e.attempt, e.evidence_type,
       as_json(e.evidence_data) AS evidence_data, e.source, e.confidence_score, as_json(e.metadata) AS metadata,
       e.content_hash, at_us(e.ts) AS created_at
FROM evidence e LEFT JOIN (SELECT run_id, any_value(request_id) AS request_id FROM run_start GROUP BY run_id) r
    ON r.run_id = e.run_id;

CREATE OR REPLACE VIEW sessions AS
SELECT session_id,
       max(payload ->> '$.user_id') FILTER (kind = 'session.created') AS user_id,
       arg_max(payload ->> '$.casefile_id', seq) FILTER (kind IN ('session.created', 'session.linked')) AS casefile_id,
       CASE WHEN bool_or(kind = 'session.closed') THEN 'closed' ELSE 'open' END AS status,
       at_us(min(ts) FILTER (kind = 'session.created')) AS created_at,
       at_us(max(ts) FILTER (kind = 'session.closed')) AS closed_at,
       count(*) FILTER (kind = 'session.execution') AS executions
FROM (SELECT *, payload ->> '$.session_id' AS session_id FROM event WHERE kind LIKE 'session.%')
GROUP BY session_id
HAVING bool_or(kind = 'session.created');

-- One row per key, as it stands. What became of a key before (expired, failed, taken over) is in the events.
CREATE OR REPLACE VIEW idempotency_keys AS
SELECT request_id, arg_max(orchestrator_name, seq) FILTER (kind = 'acquired') AS orchestrator_name,
       arg_max(status, seq) FILTER (kind <> 'replayed') AS status,
       arg_max(fingerprint, seq) FILTER (kind = 'acquired') AS fingerprint,
       arg_max(run_id, seq) FILTER (kind = 'acquired') AS run_id,
       at_us(arg_max(ts, seq) FILTER (kind = 'acquired' AND reason IS DISTINCT FROM 'taken over')) AS created_at,
       at_us(arg_max(expires_us, seq) FILTER (kind = 'acquired')) AS expires_at,
       at_us(CASE WHEN arg_max(kind, seq) FILTER (kind <> 'replayed') = 'settled' THEN arg_max(ts, seq) FILTER (kind = 'settled') END)
           AS completed_at,
       CASE WHEN arg_max(kind, seq) FILTER (kind <> 'replayed') = 'settled' THEN arg_max_null(error, seq) FILTER (kind = 'settled') END
           AS error,
       count(*) FILTER (kind = 'replayed') AS replays,
       count(*) FILTER (kind = 'acquired' AND reason IS DISTINCT FROM 'taken over') AS executions
FROM claim_event GROUP BY request_id
HAVING arg_max(kind, seq) FILTER (kind <> 'replayed') <> 'released';

-- Which recorded results are shared, and with whom: `how` is fork or cache. In a run that was taken up again such a step
-- may have run itself since.
CREATE OR REPLACE VIEW lineage AS
SELECT x.run_id, x.step_id, x.how, x.source_run_id, x.source_step_id, at_us(x.ts) AS reused_at
FROM step_source x
WHERE x.run_id NOT IN (FROM resumed_runs())
   OR NOT EXISTS (SELECT 1 FROM step_start s WHERE s.run_id = x.run_id AND s.step_id = x.step_id AND s.seq > x.seq);

CREATE OR REPLACE VIEW breaker_transitions AS
SELECT seq, name AS breaker, from_state, to_state, reason, run_id, step_id, attempt, at_us(ts) AS changed_at, generation,
       manual, at_us(until_us) AS until, as_json(causes) AS causes
FROM breaker_change;

CREATE OR REPLACE VIEW health_checks AS
SELECT seq, service, at_us(ts) AS checked_at, status, performed, reason, response_ms, error, circuit_state,
       consecutive_failures, holds_us / 1e6 AS holds_s, as_json(details) AS details
FROM health_check;

CREATE OR REPLACE VIEW maintenance_windows AS
SELECT arg_max(seq, seq) AS seq, service, at_us(from_us) AS starts_at, at_us(arg_max_null(until_us, seq)) AS ends_at,
       arg_max_null(reason, seq) AS reason
FROM health_maintenance GROUP BY service, from_us;
