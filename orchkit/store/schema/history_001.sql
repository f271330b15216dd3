-- The history: append-only, no secondary indexes, no foreign keys; current state is a view.
CREATE TABLE ingest (log_id VARCHAR NOT NULL, seq BIGINT NOT NULL);
CREATE TABLE event (
    seq BIGINT NOT NULL, ts BIGINT NOT NULL, kind VARCHAR NOT NULL, run_id VARCHAR, step_id VARCHAR,
    attempt INTEGER,
    -- All of what was said, once more beside the typed tables: compressed well, read seldom.
    payload VARCHAR NOT NULL USING COMPRESSION zstd
);
CREATE TABLE blob (hash VARCHAR NOT NULL, data VARCHAR NOT NULL USING COMPRESSION zstd);
CREATE TABLE run_start (
    seq BIGINT, ts BIGINT, run_id VARCHAR, kind VARCHAR, name VARCHAR, workflow_id VARCHAR,
    definition_hash VARCHAR, user_id VARCHAR, session_id VARCHAR, casefile_id VARCHAR, request_id VARCHAR,
    durability VARCHAR, parent_run_id VARCHAR, parent_step_id VARCHAR, pid INTEGER, host VARCHAR
);
CREATE TABLE run_end (seq BIGINT, ts BIGINT, run_id VARCHAR, status VARCHAR, error VARCHAR);
CREATE TABLE run_gate (seq BIGINT, ts BIGINT, run_id VARCHAR, kind VARCHAR);
CREATE TABLE step_start (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, name VARCHAR, node_type VARCHAR,
    parent VARCHAR, input VARCHAR
);
CREATE TABLE step_end (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, name VARCHAR, node_type VARCHAR, status VARCHAR,
    attempts INTEGER, started_us BIGINT, output VARCHAR, error VARCHAR, error_type VARCHAR, reason VARCHAR
);
CREATE TABLE attempt_end (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, attempt INTEGER, status VARCHAR,
    started_us BIGINT, duration_us BIGINT, error VARCHAR, error_type VARCHAR, abandoned BOOLEAN
);
CREATE TABLE decision (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, attempt INTEGER, point VARCHAR, decision VARCHAR,
    rationale VARCHAR, alternatives VARCHAR, input_data VARCHAR, output_data VARCHAR, evidence VARCHAR,
    duration_ms DOUBLE, origin VARCHAR
);
CREATE TABLE evidence (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, attempt INTEGER, evidence_id VARCHAR,
    evidence_type VARCHAR, evidence_data VARCHAR, source VARCHAR, confidence_score DOUBLE, metadata VARCHAR,
    content_hash VARCHAR
);
