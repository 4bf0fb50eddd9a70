-- Events on their way to the event service, written in the transaction of the change that they tell of.
CREATE TABLE outbox (
  seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id             text COLLATE "C" NOT NULL,
  type           text COLLATE "C" NOT NULL CHECK (type <> ''),
  time           timestamptz NOT NULL,
  correlation_id text COLLATE "C" NOT NULL,
  payload        bytea NOT NULL  -- a serialized google.protobuf.Any
);

-- Replies of commands, by the key that their callers gave.
CREATE TABLE idempotency (
  unit        text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  fingerprint text COLLATE "C" NOT NULL,
  response    bytea NOT NULL,
  created     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (unit, key)
);
CREATE INDEX idempotency_created ON idempotency USING brin (created);
