-- Finds a part of search_text without reading every model. pg_trgm comes with PostgreSQL, but not every server lets it be
-- made: without it, searches read the table.
DO $$
DECLARE
  place text;
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  SELECT nspname INTO STRICT place FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'pg_trgm';
  EXECUTE format('CREATE INDEX models_search ON models USING gin (search_text %I.gin_trgm_ops) WITH (fastupdate = off)', place);
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'models are searched without an index: %', SQLERRM;
END $$;
