-- Idempotency keys: who may execute, and what came of it. One row per key; its whole story is in the events.
CREATE TABLE claim (
    key         TEXT PRIMARY KEY,               -- the request id, or idempotency key
    name        TEXT NOT NULL,                  -- of the orchestrator, workflow or operation
    status      TEXT NOT NULL,                  -- PROCESSING, COMPLETED or FAILED
    fingerprint TEXT NOT NULL,                  -- SHA-256 of the name and the input
    input       TEXT,                           -- JSON, to say what differs; NULL when it is large
    run_id      TEXT NOT NULL,
    execution   INTEGER NOT NULL,               -- 1 for the first execution under this key, and so on
    owner       TEXT NOT NULL,                  -- a token: each acquisition has its own
    pid         INTEGER NOT NULL,
    host        TEXT NOT NULL,
    born        TEXT,                           -- tells the process from a later one of the same number
    lease_us    INTEGER NOT NULL,               -- when the owner counts as dead, if nobody can tell otherwise; 0: it gave up
    created_us  INTEGER NOT NULL,
    expires_us  INTEGER NOT NULL,
    settled_us  INTEGER,
    result      TEXT,                           -- JSON; NULL when it is large: then it is in the run's record
    error       TEXT
) WITHOUT ROWID;
CREATE INDEX claim_expiry ON claim (expires_us);
-- Runs that have begun and not ended; a row of a process that is gone is a run that was cut off.
CREATE TABLE open_run (
    run_id        TEXT PRIMARY KEY,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    parent_run_id TEXT,
    pid           INTEGER NOT NULL,
    host          TEXT NOT NULL,
    born          TEXT,
    started_us    INTEGER NOT NULL,
    lease_us      INTEGER NOT NULL              -- as in claims
) WITHOUT ROWID;
-- Outputs that later calls with the same code and the same input may use instead of computing them again.
CREATE TABLE cache (
    key        TEXT PRIMARY KEY,                -- SHA-256 of the two hashes
    method     TEXT NOT NULL,
    code_hash  TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    run_id     TEXT NOT NULL,                   -- where the output was computed
    step_id    TEXT NOT NULL,
    output     TEXT,                            -- JSON with its type notes; NULL when it is large
    created_us INTEGER NOT NULL,
    used_us    INTEGER,
    hits       INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
