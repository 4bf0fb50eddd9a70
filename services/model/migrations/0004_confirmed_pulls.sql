-- Whether the source has ever said that what is pulled is there. Of pulls of before that is taken for granted.
ALTER TABLE pulls ADD COLUMN confirmed boolean NOT NULL DEFAULT true;
