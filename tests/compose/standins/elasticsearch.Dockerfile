# Stands in for elasticsearch: a node out of Maven's jars, under the official image's contract. It has no security.
FROM cdc-standin
COPY --chown=1000:0 bundle /usr/share/elasticsearch
COPY elasticsearch-entrypoint /usr/local/bin/docker-entrypoint.sh
COPY --chown=1000:0 elasticsearch-log4j2.properties /usr/share/elasticsearch/config/log4j2.properties
RUN useradd --uid 1000 --gid 0 --home-dir /usr/share/elasticsearch elasticsearch && \
    cd /usr/share/elasticsearch && mkdir -p data plugins logs && chown -R 1000:0 . && \
    chmod 755 /usr/local/bin/docker-entrypoint.sh
WORKDIR /usr/share/elasticsearch
VOLUME /usr/share/elasticsearch/data
EXPOSE 9200
USER 1000:0
ENTRYPOINT ["docker-entrypoint.sh"]
