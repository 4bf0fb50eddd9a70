-- The key of one caller is not the key of another: nobody gets a reply that was somebody else's.
ALTER TABLE idempotency ADD COLUMN principal text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE idempotency DROP CONSTRAINT idempotency_pkey;
ALTER TABLE idempotency ADD PRIMARY KEY (principal, unit, key);
ALTER TABLE idempotency ALTER COLUMN principal DROP DEFAULT;
