-- The heartbeat of the source. Safe to apply again.

-- The source's pulse: one small change a second, made by MySQL itself. It keeps positions moving while all else is
-- quiet, and its age at the far end tells an idle pipeline from a stuck one. (Debezium's own heartbeat only beats
-- when something arrives from the binlog, and so does its heartbeat.action.query.)
CREATE TABLE IF NOT EXISTS debezium.heartbeat (
  id TINYINT NOT NULL PRIMARY KEY,
  beats BIGINT NOT NULL,
  beat_at TIMESTAMP(6) NOT NULL
);
INSERT IGNORE INTO debezium.heartbeat (id, beats, beat_at) VALUES (1, 0, NOW(6));

CREATE EVENT IF NOT EXISTS debezium.beat
  ON SCHEDULE EVERY 1 SECOND
  DO UPDATE debezium.heartbeat SET beats = beats + 1, beat_at = NOW(6) WHERE id = 1;
