-- Keys with open dead letters: every later change of one waits too, until it is replayed or discarded.

-- A key's identity may be longer than an index entry: it is unique by its hash.
CREATE TABLE parked_key (
    sink            text        NOT NULL,
    topic           text        NOT NULL,
    key             bytea       NOT NULL,
    key_hash        bytea       NOT NULL GENERATED ALWAYS AS (sha256(key)) STORED,
    source_database text,
    source_table    text,
    partition       integer     NOT NULL,
    first_version   bigint      NOT NULL,
    last_version    bigint      NOT NULL CHECK (last_version >= first_version),
    letters         bigint      NOT NULL CHECK (letters > 0),
    reason          text        NOT NULL,
    parked_at       timestamptz NOT NULL,
    PRIMARY KEY (sink, topic, key_hash)
);
COMMENT ON TABLE parked_key IS 'Keys whose changes wait in the dead-letter topic; written with the rows';
COMMENT ON COLUMN parked_key.key IS 'The key''s bytes after what names its schema; empty: the whole table';
COMMENT ON COLUMN parked_key.first_version IS 'Generation and offset of the first open dead letter';

CREATE TABLE request (
    sink      text        NOT NULL,
    topic     text        NOT NULL,
    key       bytea       NOT NULL,
    key_hash  bytea       NOT NULL GENERATED ALWAYS AS (sha256(key)) STORED,
    partition integer     NOT NULL,
    action    text        NOT NULL CHECK (action IN ('replay', 'discard')),
    edits     jsonb       NOT NULL DEFAULT '{}',
    asked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sink, topic, key_hash)
);
COMMENT ON TABLE request IS 'What an operator asks of the worker that owns a parked key''s partition';
