#!/usr/bin/env bash
# Applies sql/mysql (mounted at /sql), with passwords filled in from CDC_… variables or the files that CDC_…_FILE name.
# The image runs it at the first start, before MySQL has a network. All of it is safe to apply again:
#   docker compose exec mysql /docker-entrypoint-initdb.d/cdc.sh
set -euo pipefail

value() { # NAME: of a variable, or of the file that NAME_FILE names
  local file=$1_FILE
  if [ -n "${!1:-}" ]; then
    printf '%s' "${!1}"
  else
    cat "${!file:?"neither $1 nor $1_FILE is set"}"
  fi
}

MYSQL_PWD=$(value MYSQL_ROOT_PASSWORD)
export MYSQL_PWD
for path in /sql/[0-9]*.sql; do
  text=$(<"$path")
  for name in $(grep -oE '\$\{CDC_[A-Z_]+\}' "$path" | tr -d "\${}" | sort -u); do
    quoted=$(value "$name")
    quoted=${quoted//\\/\\\\}
    quoted=${quoted//"'"/"''"}
    text=${text//"\${$name}"/"$quoted"}
  done
  echo "Applying ${path##*/}"
  mysql --protocol=socket --user=root --default-character-set=utf8mb4 <<<"$text"
done
