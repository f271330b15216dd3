-- The log: one append-only table and the few tables that need compare-and-set.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE event (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,  -- total order; never reused, also after a trim
    ts      INTEGER NOT NULL,                   -- microseconds since the epoch, UTC
    kind    TEXT NOT NULL,
    run_id  TEXT,
    step_id TEXT,
    attempt INTEGER,
    payload TEXT NOT NULL                       -- a JSON object
);
CREATE TABLE blob (hash TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    kind       TEXT NOT NULL,
    key        TEXT NOT NULL,
    version    INTEGER NOT NULL,
    value      TEXT NOT NULL,                   -- a JSON object
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE lease (
    name       TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    host       TEXT NOT NULL,
    expires_us INTEGER NOT NULL,
    wanted_us  INTEGER                          -- last time somebody else asked for it
) WITHOUT ROWID;
