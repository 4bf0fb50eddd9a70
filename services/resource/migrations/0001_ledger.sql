-- The ledger: who holds how much of what. Its one rule is that for every class of capacity
--   inventory.used = sum(pool.used) = sum(claim_item.amount) over claims that have not ended.

-- Something that has capacity. Whoever changes its part of the ledger holds the lock of its row.
CREATE TABLE provider (
  id    text PRIMARY KEY,
  fence bigint NOT NULL DEFAULT 0  -- of the last grant
);

CREATE TABLE inventory (
  provider_id text NOT NULL REFERENCES provider,
  class       text NOT NULL CHECK (class IN ('memory_bytes', 'gpu_milli', 'cpu_milli')),
  total       bigint NOT NULL CHECK (total >= 0),
  reserved    bigint NOT NULL CHECK (reserved >= 0),  -- never given away
  used        bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (provider_id, class),
  CONSTRAINT never_oversold CHECK (used >= 0 AND used <= total - reserved)
);

-- Divides an inventory. Claims of a pool may use more than its share where the shares of the others leave room.
CREATE TABLE pool (
  provider_id text NOT NULL,
  class       text NOT NULL,
  name        text NOT NULL,
  share       bigint NOT NULL CHECK (share >= 0),  -- kept for claims of this pool
  used        bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
  PRIMARY KEY (provider_id, class, name),
  FOREIGN KEY (provider_id, class) REFERENCES inventory
);

CREATE TABLE claim (
  id            text COLLATE "C" PRIMARY KEY,
  provider_id   text NOT NULL REFERENCES provider,
  pool          text NOT NULL,
  fence         bigint NOT NULL,
  name          text NOT NULL,
  type          text NOT NULL,
  priority      int NOT NULL,
  status        text NOT NULL,
  current_model text NOT NULL DEFAULT '',
  process_pid   bigint NOT NULL DEFAULT 0,
  actual_memory bigint NOT NULL DEFAULT 0,
  created_at    timestamptz NOT NULL DEFAULT now(),
  ended_at      timestamptz,
  UNIQUE (provider_id, fence)
);
CREATE INDEX claim_held ON claim (id) WHERE ended_at IS NULL;
CREATE INDEX claim_ended ON claim (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE claim_item (
  claim_id text COLLATE "C" NOT NULL REFERENCES claim ON DELETE CASCADE,
  class    text NOT NULL,
  amount   bigint NOT NULL CHECK (amount >= 0),
  PRIMARY KEY (claim_id, class)
);

-- Unless `condition` holds, fails with the given SQLSTATE, which undoes the whole write that this is part of.
CREATE FUNCTION require(condition boolean, sqlstate_otherwise text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF condition IS NOT TRUE THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = sqlstate_otherwise;
  END IF;
END $$;
