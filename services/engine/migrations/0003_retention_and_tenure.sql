-- For how long an instance stays, and which process may write about the instances of a machine.
ALTER TABLE instances
  ADD COLUMN on_demand    boolean NOT NULL DEFAULT false,  -- loaded because a request needed it
  ADD COLUMN pinned       boolean NOT NULL DEFAULT false,
  ADD COLUMN idle_timeout bigint  NOT NULL DEFAULT 0,      -- milliseconds; 0 is never
  ADD COLUMN restart_key  text    NOT NULL DEFAULT '';     -- idempotency key of the restart that it was last stopped for

-- One row per machine: the engine service that looks after it. Each that takes over raises the epoch; writes of an
-- earlier one, which may only have been asleep, are refused from then on.
CREATE TABLE tenure (
  node   text        PRIMARY KEY,
  epoch  bigint      NOT NULL,
  holder text        NOT NULL,  -- for people
  since  timestamptz NOT NULL
);

CREATE FUNCTION require(condition boolean, sqlstate_otherwise text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF condition IS NOT TRUE THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = sqlstate_otherwise;
  END IF;
END $$;
