-- Large values: a table with row ids, since without them SQLite reads a whole value wherever it compares a hash.
CREATE TABLE large (hash TEXT PRIMARY KEY, data TEXT NOT NULL);
INSERT INTO large SELECT hash, data FROM blob;
DROP TABLE blob;
ALTER TABLE large RENAME TO blob;
