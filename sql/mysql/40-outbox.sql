-- The transactional outbox: an event is a row, written in the same transaction as what it tells of. Safe to apply
-- again. An application keeps such a table in its own database; a relay brings the rows to Kafka.
--
--   shop.outbox      read by the polling relay, `cdc outbox relay`
--   shop.outbox_log  read from the binlog by the connector mysql-outbox; its rows may be deleted at once, even in
--                    the transaction that inserted them
--
-- Write one, from any language:
--   INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)
--   VALUES ('customer', '42', 'customer.signed_up', '{"email": "a@example.com"}');
--
-- The payload is JSON kept as text: it arrives byte for byte as it was written (MySQL's JSON type would reorder its
-- keys and round its large numbers). docs/outbox.md has the columns one by one.
USE shop;

CREATE TABLE IF NOT EXISTS outbox (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  message_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT (UUID()),
  aggregate_type VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  aggregate_id VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_type VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  source VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '/shop',
  occurred_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    DEFAULT (DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')),
  headers MEDIUMTEXT CHARACTER SET utf8mb4 NULL,
  payload MEDIUMTEXT CHARACTER SET utf8mb4 NOT NULL,
  status ENUM('pending', 'waiting', 'retry', 'failed', 'sent', 'discarded') NOT NULL DEFAULT 'pending',
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  processed_at TIMESTAMP(6) NULL,
  failures INT UNSIGNED NOT NULL DEFAULT 0,
  next_attempt_at TIMESTAMP(6) NULL,
  last_error VARCHAR(500) NULL,
  shard TINYINT UNSIGNED AS (CRC32(CONCAT(aggregate_type, '/', aggregate_id)) MOD 16) STORED,
  PRIMARY KEY (id),
  UNIQUE KEY outbox_message (message_id),
  KEY outbox_due (status, shard, id),
  CONSTRAINT outbox_payload_is_json CHECK (JSON_VALID(payload)),
  CONSTRAINT outbox_headers_are_json CHECK (headers IS NULL OR JSON_TYPE(headers) = 'OBJECT')
);

-- What the relays share: a lock per shard, and in the mode "last-id" the position; one row each, made by the relay.
CREATE TABLE IF NOT EXISTS outbox_relay (
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  last_id BIGINT UNSIGNED NOT NULL DEFAULT 0,
  gaps MEDIUMTEXT NULL
);

-- The same columns for the relay that reads the binlog, without those that only a polling relay writes.
CREATE TABLE IF NOT EXISTS outbox_log (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  message_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT (UUID()),
  aggregate_type VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  aggregate_id VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  event_type VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  source VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '/shop',
  occurred_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    DEFAULT (DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')),
  headers MEDIUMTEXT CHARACTER SET utf8mb4 NULL,
  payload MEDIUMTEXT CHARACTER SET utf8mb4 NOT NULL,
  spec_version VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '1.0', -- of CloudEvents
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  UNIQUE KEY outbox_log_message (message_id),
  CONSTRAINT outbox_log_payload_is_json CHECK (JSON_VALID(payload)),
  CONSTRAINT outbox_log_headers_are_json CHECK (headers IS NULL OR JSON_TYPE(headers) = 'OBJECT')
);
