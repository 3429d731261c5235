-- Roles of PostgreSQL with no more rights than their processes need.
--
-- dropscribe         owns the database: schedulers, `up`, and commands that change something. It makes the tables.
-- dropscribe_worker  workers
-- dropscribe_reader  commands that only read: status, jobs, show, search, export, health
--
-- Make the database once, as its administrator:
--
--   CREATE ROLE dropscribe LOGIN PASSWORD '...';
--   CREATE DATABASE dropscribe OWNER dropscribe;
--   REVOKE ALL ON DATABASE dropscribe FROM PUBLIC;
--   CREATE ROLE dropscribe_worker LOGIN PASSWORD '...';
--   CREATE ROLE dropscribe_reader LOGIN PASSWORD '...';
--
-- Start the scheduler, which makes the tables. Then, and after each new version of dropscribe, as dropscribe:
--
--   psql --single-transaction --set ON_ERROR_STOP=1 --dbname dropscribe --file postgresql-roles.sql
--
-- What is granted anew replaces what was granted before.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, dropscribe_worker, dropscribe_reader;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, dropscribe_worker, dropscribe_reader;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

DO $$
BEGIN
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO dropscribe_worker, dropscribe_reader', current_database());
END
$$;
GRANT USAGE ON SCHEMA public TO dropscribe_worker, dropscribe_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO dropscribe_worker, dropscribe_reader;
REVOKE SELECT ON voices FROM dropscribe_reader; -- biometric data

-- A worker changes what it works on. It removes no job and no event, and enrols nobody.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO dropscribe_worker;
GRANT UPDATE ON jobs TO dropscribe_worker;
GRANT INSERT ON ended, events, notifications TO dropscribe_worker;
GRANT INSERT, UPDATE ON last_turns TO dropscribe_worker;
GRANT INSERT, DELETE ON lines, segments, switches, transcripts TO dropscribe_worker;
GRANT INSERT, UPDATE, DELETE ON chunks, outputs, speeds, workers TO dropscribe_worker;
