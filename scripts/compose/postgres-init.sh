#!/usr/bin/env bash
# Makes the replica's role and database; the sink lays its own schema. The image runs it at the first start.
set -euo pipefail
psql --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname postgres --set ON_ERROR_STOP=1 <<'END'
\set password `cat "$CDC_POSTGRES_PASSWORD_FILE"`
CREATE ROLE cdc LOGIN PASSWORD :'password';
CREATE DATABASE replica OWNER cdc;
END
