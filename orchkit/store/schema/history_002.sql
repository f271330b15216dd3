-- Who runs it, told from a later process of the same number; the code it ran; what it was made from.
ALTER TABLE run_start ADD COLUMN born VARCHAR;
ALTER TABLE run_start ADD COLUMN code VARCHAR;
ALTER TABLE run_start ADD COLUMN source_run_id VARCHAR;
-- Each time a run was taken up again, and by whom.
CREATE TABLE run_resume (
    seq BIGINT, ts BIGINT, run_id VARCHAR, pid INTEGER, host VARCHAR, born VARCHAR
);
-- Each time a run, or more of it, was brought here from another store.
CREATE TABLE run_import (seq BIGINT, ts BIGINT, run_id VARCHAR);
-- Steps whose recorded result is that of another step: of a fork's origin, or of the cache.
CREATE TABLE step_source (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, how VARCHAR, source_run_id VARCHAR,
    source_step_id VARCHAR
);
-- What happened to idempotency keys.
CREATE TABLE claim_event (
    seq BIGINT, ts BIGINT, kind VARCHAR, request_id VARCHAR, orchestrator_name VARCHAR, run_id VARCHAR,
    fingerprint VARCHAR, status VARCHAR, expires_us BIGINT, execution INTEGER, reason VARCHAR, error VARCHAR
);
