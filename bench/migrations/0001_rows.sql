-- pgbench inserts into this very table, too.
CREATE TABLE rows (
  id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  text text NOT NULL
);
