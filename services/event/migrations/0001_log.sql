-- Names of event types, so that an event holds and its index compares a number.
CREATE TABLE event_type (
  id     int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name   text COLLATE "C" NOT NULL UNIQUE,
  domain text COLLATE "C" NOT NULL
);

-- The log. Sequence numbers have no gaps.
CREATE TABLE event (
  seq            bigint PRIMARY KEY,
  id             text COLLATE "C" NOT NULL,
  type           int NOT NULL,
  time           timestamptz NOT NULL,
  correlation_id text COLLATE "C" NOT NULL,
  payload        bytea NOT NULL  -- a serialized google.protobuf.Any
);
CREATE UNIQUE INDEX event_id ON event (id);
CREATE INDEX event_type_seq ON event (type, seq);
-- BRIN indexes cost appending next to nothing. Events come nearly in the order of their times; those of one request
-- lie close together.
CREATE INDEX event_time ON event USING brin (time) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX event_correlation ON event USING brin (correlation_id text_bloom_ops)
  WITH (pages_per_range = 16, autosummarize = on);

-- The last sequence number given. Appending compares and sets it, so that of two sequencers only one appends; and it
-- outlives the events that retention removes.
CREATE TABLE head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  seq bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head (seq) VALUES (0);
