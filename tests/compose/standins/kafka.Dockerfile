# Stands in for apache/kafka: the broker's jars from Maven, under the official image's contract.
FROM cdc-standin
COPY bundle/lib /opt/kafka/libs
COPY kafka-entrypoint /etc/kafka/docker/run
RUN useradd --system --uid 1000 appuser && \
    mkdir -p /var/lib/kafka/data /opt/kafka/config && \
    chown appuser /var/lib/kafka/data /opt/kafka/config && \
    chmod 755 /etc/kafka/docker/run
ENV CLUSTER_ID=5L6g3nShT-eMCtK--X86sw
VOLUME /var/lib/kafka/data
EXPOSE 9092
USER appuser
CMD ["/etc/kafka/docker/run"]
