-- Models that come from elsewhere.
ALTER TABLE models
  ADD COLUMN repo text NOT NULL DEFAULT '',
  ADD COLUMN revision text NOT NULL DEFAULT '',
  ADD COLUMN pinned boolean NOT NULL DEFAULT false,
  ADD COLUMN use_time timestamptz;

-- One pull per model. Numbers of source and status are those of the enums of aima/model/v1/pull.proto.
CREATE TABLE pulls (
  model_id     text PRIMARY KEY COLLATE "C" REFERENCES models (id) ON DELETE CASCADE,
  source       smallint NOT NULL,
  repo         text NOT NULL,
  tag          text NOT NULL,
  mirror       text NOT NULL,
  quantization text NOT NULL,
  status       smallint NOT NULL,
  error        text NOT NULL DEFAULT '',
  reason       text NOT NULL DEFAULT '',
  plan         bytea NOT NULL DEFAULT '',  -- aima.model.v1.PullPlan
  own_record   boolean NOT NULL,           -- the model's record was made for the pull and goes with it
  create_time  timestamptz NOT NULL,
  update_time  timestamptz NOT NULL
);

-- Who asks for the same again attaches to the pull that there is.
CREATE UNIQUE INDEX pulls_what ON pulls (source, repo, tag, quantization);
