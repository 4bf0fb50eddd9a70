-- Models. Numbers of type, format and status are those of the enums of aima/model/v1/model.proto.
CREATE TABLE models (
  id           text PRIMARY KEY COLLATE "C",
  name         text NOT NULL,
  type         smallint NOT NULL,
  format       smallint NOT NULL,
  status       smallint NOT NULL,
  source       text NOT NULL,
  path         text NOT NULL,
  size_bytes   bigint NOT NULL CHECK (size_bytes >= 0),
  digest       text NOT NULL,
  stored       boolean NOT NULL,
  error        text NOT NULL DEFAULT '',
  architecture text NOT NULL,
  details      bytea NOT NULL,  -- aima.model.v1.Details
  files        bytea NOT NULL,  -- aima.model.v1.Model with nothing but files
  create_time  timestamptz NOT NULL,
  update_time  timestamptz NOT NULL,
  verify_time  timestamptz,
  search_text  text NOT NULL GENERATED ALWAYS AS (lower(id || ' ' || name || ' ' || architecture)) STORED,
  CHECK (path <> '' OR digest = '')
);

-- Files are one model only, however often they are imported.
CREATE UNIQUE INDEX models_path ON models (path) WHERE path <> '';
CREATE INDEX models_digest ON models (digest) WHERE digest <> '';
-- Those whose digest is still to be computed; nearly always empty.
CREATE INDEX models_without_digest ON models (id COLLATE "C") WHERE digest = '' AND path <> '';

-- How many models there are of each kind, so that lists tell their total without counting.
CREATE TABLE model_counts (
  type   smallint NOT NULL,
  format smallint NOT NULL,
  status smallint NOT NULL,
  count  bigint NOT NULL CHECK (count >= 0),
  PRIMARY KEY (type, format, status)
);

CREATE FUNCTION count_models() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND (OLD.type, OLD.format, OLD.status) = (NEW.type, NEW.format, NEW.status) THEN
    RETURN NULL;
  END IF;
  IF TG_OP IN ('UPDATE', 'DELETE') THEN
    UPDATE model_counts SET count = count - 1
      WHERE (type, format, status) = (OLD.type, OLD.format, OLD.status);
  END IF;
  IF TG_OP IN ('UPDATE', 'INSERT') THEN
    INSERT INTO model_counts AS c (type, format, status, count) VALUES (NEW.type, NEW.format, NEW.status, 1)
      ON CONFLICT (type, format, status) DO UPDATE SET count = c.count + 1;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER models_counted AFTER INSERT OR UPDATE OR DELETE ON models
  FOR EACH ROW EXECUTE FUNCTION count_models();
