-- Calls of units that outlive their callers (libs/operations). One process at a time runs an operation: the one that
-- `owner` names, until `lease_until`. `term` grows with each change of hands; a write of an earlier term finds no row.
CREATE TABLE operation (
  id               text COLLATE "C" PRIMARY KEY,
  unit             text COLLATE "C" NOT NULL,
  input            bytea NOT NULL,   -- of the unit, serialized
  principal        text COLLATE "C" NOT NULL,
  role             text COLLATE "C" NOT NULL,
  trace_id         text COLLATE "C" NOT NULL,
  idempotency_key  text COLLATE "C" NOT NULL,
  state            text COLLATE "C" NOT NULL
                   CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled', 'unknown')),
  attempts         integer NOT NULL,
  progress         bytea,            -- the newest, serialized
  result           bytea,            -- of the unit, serialized
  error_code       integer NOT NULL DEFAULT 0,
  error_message    bytea,
  error_details    bytea,
  cancel_requested boolean NOT NULL DEFAULT false,
  owner            text COLLATE "C",
  lease_until      timestamptz NOT NULL,
  term             bigint NOT NULL,
  created          timestamptz NOT NULL DEFAULT now(),
  started          timestamptz,
  finished         timestamptz,
  deadline         timestamptz NOT NULL,
  UNIQUE (principal, unit, idempotency_key),
  CHECK ((finished IS NULL) = (state IN ('pending', 'running')))
);
CREATE INDEX operation_active ON operation (lease_until) WHERE finished IS NULL;
CREATE INDEX operation_finished ON operation (finished) WHERE finished IS NOT NULL;
CREATE INDEX operation_principal ON operation (principal, id);
