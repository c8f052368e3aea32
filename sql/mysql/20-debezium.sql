-- What the connector writes to and listens on. Safe to apply again.

-- An INSERT here asks the running connector for something, an incremental snapshot for instance.
CREATE TABLE IF NOT EXISTS debezium.`signal` (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type VARCHAR(32) NOT NULL,
  data TEXT NULL
);

-- The connector updates this row every second, so that positions advance while all else is quiet.
CREATE TABLE IF NOT EXISTS debezium.heartbeat (
  id TINYINT NOT NULL PRIMARY KEY,
  beats BIGINT NOT NULL,
  beat_at TIMESTAMP(6) NOT NULL
);
INSERT IGNORE INTO debezium.heartbeat (id, beats, beat_at) VALUES (1, 0, NOW(6));
