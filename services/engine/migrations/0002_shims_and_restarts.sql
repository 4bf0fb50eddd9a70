-- Every engine runs under a shim, and what once ran is started again when it ends by itself.
ALTER TABLE instances
  ADD COLUMN shim_pid        integer     NOT NULL DEFAULT 0,  -- the engine's own process is `pid`
  ADD COLUMN shim_start_time bigint      NOT NULL DEFAULT 0,
  ADD COLUMN wanted          boolean     NOT NULL DEFAULT false,  -- it is to run
  ADD COLUMN crashes         integer     NOT NULL DEFAULT 0,      -- ends by itself, in a row
  ADD COLUMN next_start_at   timestamptz,                         -- not earlier, after such an end
  ADD COLUMN running_since   timestamptz;                         -- when it was ready
