-- One row per instance: what it is to do and the last known truth about its process. Each machine of a cluster writes
-- its own rows only.
CREATE TABLE instances (
  node           text        NOT NULL,
  instance_id    text        NOT NULL,
  engine         text        NOT NULL,
  model_id       text        NOT NULL,
  model_type     text        NOT NULL,
  served_name    text        NOT NULL,
  status         smallint    NOT NULL CHECK (status BETWEEN 1 AND 5),  -- aima.engine.v1.InstanceStatus
  generation     bigint      NOT NULL,
  run            text        NOT NULL,  -- marker of the processes of this generation
  pid            integer     NOT NULL,
  boot_id        text        NOT NULL,
  start_time     bigint      NOT NULL,
  port           integer     NOT NULL,
  api_key        text        NOT NULL,
  requested      bytea       NOT NULL,  -- aima.engine.v1.InstanceConfig as the caller gave it
  config         bytea       NOT NULL,  -- the same with defaults filled in
  slot_id        text        NOT NULL,
  memory_bytes   bigint      NOT NULL,
  error          text        NOT NULL,
  log_tail       text        NOT NULL,
  log_path       text        NOT NULL,
  started_at     timestamptz,
  updated_at     timestamptz NOT NULL,
  PRIMARY KEY (node, instance_id)
);
