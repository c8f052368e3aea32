-- What a sink knows of itself, committed in one transaction with the rows it applies.
-- A replica's own tables live in schemas named after the source's databases, with no column of ours.
-- Unqualified: the session's search_path is the state schema alone (`cdc` unless configured otherwise).

CREATE TABLE topic (
    sink       text     NOT NULL,
    topic      text     NOT NULL,
    topic_id   text     NOT NULL,
    partitions integer  NOT NULL CHECK (partitions > 0),
    generation smallint NOT NULL DEFAULT 0 CHECK (generation >= 0),
    PRIMARY KEY (sink, topic)
);
COMMENT ON TABLE topic IS 'A topic as Kafka knew it at the last claim';
COMMENT ON COLUMN topic.generation IS 'Grows when the topic is re-created or re-partitioned';

-- One row per partition, updated by every batch: room on the page keeps these updates heap-only.
CREATE TABLE partition (
    sink          text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL CHECK (partition >= 0),
    next_offset   bigint  NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
    watermark     jsonb   NOT NULL DEFAULT '{}',
    gtid          text    NOT NULL DEFAULT '',
    source_ms     bigint  NOT NULL DEFAULT 0,
    counts        jsonb   NOT NULL DEFAULT '{}',
    lease         bigint  NOT NULL DEFAULT 0,
    backend_pid   integer,
    backend_start timestamptz,
    committed_at  timestamptz,
    PRIMARY KEY (sink, topic, partition),
    FOREIGN KEY (sink, topic) REFERENCES topic
) WITH (fillfactor = 50);
COMMENT ON TABLE partition IS 'How far each partition is applied, and who may write it';
COMMENT ON COLUMN partition.next_offset IS 'Every record before this offset is applied or parked';
COMMENT ON COLUMN partition.watermark IS 'Per GTID source: last applied [transaction, total_order]';
COMMENT ON COLUMN partition.lease IS 'Number of the last claim: only its holder may write';
COMMENT ON COLUMN partition.backend_pid IS 'The holder''s session, with backend_start: pids are used again';

CREATE TABLE replica_table (
    schema_name     text        NOT NULL,
    table_name      text        NOT NULL,
    source_database text        NOT NULL,
    source_table    text        NOT NULL,
    sink            text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schema_name, table_name)
);
COMMENT ON TABLE replica_table IS
    'Tables that hold replicated rows: one that is listed here and is gone was dropped by hand';
