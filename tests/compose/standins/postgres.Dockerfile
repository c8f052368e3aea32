# Stands in for postgres:18: Maven's embedded PostgreSQL, under the official image's contract.
FROM cdc-standin
COPY bundle /opt/postgres
COPY postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
RUN useradd --system --uid 998 --home-dir /var/lib/postgresql postgres && \
    mkdir -p /docker-entrypoint-initdb.d /var/lib/postgresql /var/run/postgresql && \
    chown postgres:postgres /var/lib/postgresql /var/run/postgresql && \
    chmod 755 /usr/local/bin/docker-entrypoint.sh
ENV PATH=$PATH:/opt/postgres/bin PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
