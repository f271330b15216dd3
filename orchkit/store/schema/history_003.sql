-- Each change of state of a circuit breaker, and the attempts that caused it.
CREATE TABLE breaker_change (
    seq BIGINT, ts BIGINT, run_id VARCHAR, step_id VARCHAR, attempt INTEGER, name VARCHAR, from_state VARCHAR,
    to_state VARCHAR, generation BIGINT, reason VARCHAR, manual BOOLEAN, until_us BIGINT, causes VARCHAR
);
-- Attempts that failed because a fault was injected; NULL in older rows: none was.
ALTER TABLE attempt_end ADD COLUMN injected BOOLEAN;
