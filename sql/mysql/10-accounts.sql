-- Accounts, with the least each of them needs. ${…} are filled in by whoever applies this file: `./scripts/up`
-- (generated passwords) or scripts/compose/mysql-init.sh (from the container's environment). Safe to apply again.

CREATE DATABASE IF NOT EXISTS debezium;
CREATE DATABASE IF NOT EXISTS shop;

-- An INSERT here asks the running connector for something, an incremental snapshot for instance.
CREATE TABLE IF NOT EXISTS debezium.`signal` (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type VARCHAR(32) NOT NULL,
  data TEXT NULL
);

-- Debezium: reads every table for a snapshot, then the binlog; RELOAD is for the snapshot's short global read lock.
CREATE USER IF NOT EXISTS 'cdc_capture'@'%' IDENTIFIED BY '${CDC_MYSQL_CAPTURE_PASSWORD}';
ALTER USER 'cdc_capture'@'%' IDENTIFIED BY '${CDC_MYSQL_CAPTURE_PASSWORD}';
GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'cdc_capture'@'%';
GRANT INSERT, UPDATE, DELETE ON debezium.`signal` TO 'cdc_capture'@'%';

-- The application of the example.
CREATE USER IF NOT EXISTS 'shop'@'%' IDENTIFIED BY '${CDC_MYSQL_SHOP_PASSWORD}';
ALTER USER 'shop'@'%' IDENTIFIED BY '${CDC_MYSQL_SHOP_PASSWORD}';
GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON shop.* TO 'shop'@'%';

-- The one that endpoints.json names: makes databases and edits rows everywhere.
CREATE USER IF NOT EXISTS 'cdc_admin'@'%' IDENTIFIED BY '${CDC_MYSQL_ADMIN_PASSWORD}';
ALTER USER 'cdc_admin'@'%' IDENTIFIED BY '${CDC_MYSQL_ADMIN_PASSWORD}';
GRANT ALL PRIVILEGES ON *.* TO 'cdc_admin'@'%' WITH GRANT OPTION;
