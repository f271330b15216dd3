-- Route one batch of log rows (the relation `batch`) to the typed tables; one statement per kind.
INSERT INTO event SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM batch;

INSERT INTO run_start
SELECT seq, ts, run_id, p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11],
       TRY_CAST(p[12] AS INTEGER), p[13], p[14], j, p[15]
FROM (
    SELECT seq, ts, run_id, json_extract_string(payload, [
        '$.kind', '$.name', '$.workflow_id', '$.definition_hash', '$.user_id', '$.session_id', '$.casefile_id',
        '$.request_id', '$.durability', '$.parent_run_id', '$.parent_step_id', '$.pid', '$.host', '$.born',
        '$.forked_from.run_id']) AS p,
        json_extract(payload, '$.code') AS j
    FROM batch WHERE kind = 'run.started'
);

INSERT INTO run_end
SELECT seq, ts, run_id, payload ->> '$.status', payload ->> '$.error' FROM batch WHERE kind = 'run.finished';

INSERT INTO run_gate SELECT seq, ts, run_id, kind FROM batch WHERE kind = 'run.paused';
INSERT INTO run_gate SELECT seq, ts, run_id, kind FROM batch WHERE kind = 'run.resumed';

-- Only who takes a run up again says which process it is; a run that was paused goes on in its own.
INSERT INTO run_resume
SELECT seq, ts, run_id, TRY_CAST(p[1] AS INTEGER), p[2], p[3]
FROM (
    SELECT seq, ts, run_id, json_extract_string(payload, ['$.pid', '$.host', '$.born']) AS p
    FROM batch WHERE kind = 'run.resumed'
) WHERE p[1] IS NOT NULL;

INSERT INTO run_import SELECT seq, ts, run_id FROM batch WHERE kind = 'run.imported';

INSERT INTO step_start
SELECT seq, ts, run_id, step_id, p[1], p[2], p[3], j
FROM (
    SELECT seq, ts, run_id, step_id, json_extract_string(payload, ['$.name', '$.node_type', '$.parent']) AS p,
           json_extract(payload, '$.input') AS j
    FROM batch WHERE kind = 'step.scheduled'
);

INSERT INTO step_end
SELECT seq, ts, run_id, step_id, p[1], p[2], p[3], TRY_CAST(p[4] AS INTEGER), TRY_CAST(p[5] AS BIGINT), j, p[6], p[7], p[8]
FROM (
    SELECT seq, ts, run_id, step_id, json_extract_string(payload, [
        '$.name', '$.node_type', '$.status', '$.attempts', '$.started_us', '$.error', '$.error_type',
        '$.reason']) AS p,
        json_extract(payload, '$.output') AS j
    FROM batch WHERE kind = 'step.finished'
);

INSERT INTO attempt_end
SELECT seq, ts, run_id, step_id, attempt, p[1], TRY_CAST(p[2] AS BIGINT), TRY_CAST(p[3] AS BIGINT), p[4], p[5],
       coalesce(TRY_CAST(p[6] AS BOOLEAN), FALSE), coalesce(TRY_CAST(p[7] AS BOOLEAN), FALSE)
FROM (
    SELECT seq, ts, run_id, step_id, attempt, json_extract_string(payload, [
        '$.status', '$.started_us', '$.duration_us', '$.error', '$.error_type', '$.abandoned', '$.injected']) AS p
    FROM batch WHERE kind = 'attempt.finished'
);

INSERT INTO decision
SELECT seq, ts, run_id, step_id, attempt, p[1], p[2], p[3], j[1], j[2], j[3], j[4], TRY_CAST(p[4] AS DOUBLE), p[5]
FROM (
    SELECT seq, ts, run_id, step_id, attempt,
        json_extract_string(payload, ['$.point', '$.decision', '$.rationale', '$.duration_ms', '$.origin']) AS p,
        json_extract(payload, ['$.alternatives', '$.input_data', '$.output_data', '$.evidence']) AS j
    FROM batch WHERE kind = 'decision'
);

INSERT INTO evidence
SELECT seq, ts, run_id, step_id, attempt, p[1], p[2], j[1], p[3], TRY_CAST(p[4] AS DOUBLE), j[2], p[5]
FROM (
    SELECT seq, ts, run_id, step_id, attempt,
        json_extract_string(payload, ['$.evidence_id', '$.type', '$.source', '$.confidence_score', '$.hash']) AS p,
        json_extract(payload, ['$.data', '$.metadata']) AS j
    FROM batch WHERE kind = 'evidence'
);

INSERT INTO step_source
SELECT seq, ts, run_id, step_id, p[1], p[2], p[3]
FROM (
    SELECT seq, ts, run_id, step_id, json_extract_string(payload, ['$.how', '$.run_id', '$.step_id']) AS p
    FROM batch WHERE kind = 'step.reused'
);

INSERT INTO claim_event
SELECT seq, ts, 'acquired', p[1], p[2], p[3], p[4], 'PROCESSING', TRY_CAST(p[5] AS BIGINT), TRY_CAST(p[6] AS INTEGER), p[7], NULL
FROM (
    SELECT seq, ts, json_extract_string(payload, [
        '$.key', '$.name', '$.run_id', '$.fingerprint', '$.expires_us', '$.execution', '$.reason']) AS p
    FROM batch WHERE kind = 'claim.acquired'
);

INSERT INTO claim_event
SELECT seq, ts, 'settled', p[1], p[2], p[3], NULL, p[4], NULL, NULL, NULL, p[5]
FROM (
    SELECT seq, ts, json_extract_string(payload, ['$.key', '$.name', '$.run_id', '$.status', '$.error']) AS p
    FROM batch WHERE kind = 'claim.settled'
);

INSERT INTO claim_event
SELECT seq, ts, 'replayed', p[1], p[2], p[3], NULL, NULL, NULL, NULL, NULL, NULL
FROM (
    SELECT seq, ts, json_extract_string(payload, ['$.key', '$.name', '$.run_id']) AS p
    FROM batch WHERE kind = 'claim.replayed'
);

INSERT INTO breaker_change
SELECT seq, ts, run_id, step_id, attempt, p[1], p[2], p[3], TRY_CAST(p[4] AS BIGINT), p[5],
       coalesce(TRY_CAST(p[6] AS BOOLEAN), FALSE), TRY_CAST(p[7] AS BIGINT), j
FROM (
    SELECT seq, ts, run_id, step_id, attempt, json_extract_string(payload, [
        '$.name', '$.from_state', '$.to_state', '$.generation', '$.reason', '$.manual', '$.until_us']) AS p,
        json_extract(payload, '$.causes') AS j
    FROM batch WHERE kind = 'breaker.transition'
);

INSERT INTO claim_event
SELECT seq, ts, 'released', p[1], p[2], p[3], NULL, NULL, NULL, NULL, p[4], NULL
FROM (
    SELECT seq, ts, json_extract_string(payload, ['$.key', '$.name', '$.run_id', '$.reason']) AS p
    FROM batch WHERE kind = 'claim.released'
);

INSERT INTO health_check
SELECT seq, ts, p[1], p[2], coalesce(TRY_CAST(p[3] AS BOOLEAN), FALSE), p[4], TRY_CAST(p[5] AS DOUBLE), p[6], p[7],
       TRY_CAST(p[8] AS BIGINT), TRY_CAST(p[9] AS BIGINT), j
FROM (
    SELECT seq, ts, json_extract_string(payload, [
        '$.service', '$.status', '$.performed', '$.reason', '$.response_ms', '$.error', '$.circuit_state',
        '$.consecutive_failures', '$.holds_us']) AS p,
        json_extract(payload, '$.details') AS j
    FROM batch WHERE kind = 'health.check'
);

INSERT INTO health_maintenance
SELECT seq, ts, p[1], TRY_CAST(p[2] AS BIGINT), TRY_CAST(p[3] AS BIGINT), p[4]
FROM (
    SELECT seq, ts, json_extract_string(payload, ['$.service', '$.from_us', '$.until_us', '$.reason']) AS p
    FROM batch WHERE kind = 'health.maintenance'
);
