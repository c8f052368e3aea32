-- Up to where the schema changes of a partition's tables are applied: committed with the change itself.

ALTER TABLE partition ADD COLUMN schema_topic_id text NOT NULL DEFAULT '';
ALTER TABLE partition ADD COLUMN schema_offset bigint NOT NULL DEFAULT 0 CHECK (schema_offset >= 0);
COMMENT ON COLUMN partition.schema_topic_id IS 'Kafka''s id of the schema-change topic that was followed';
COMMENT ON COLUMN partition.schema_offset IS 'Every change before this offset of that topic is applied';
