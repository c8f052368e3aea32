# Stands in for apicurio/apicurio-registry: the distribution from Maven, under the official image's contract.
FROM cdc-standin
COPY --chown=1001:0 bundle /deployments
WORKDIR /tmp
USER 1001
EXPOSE 8080
CMD ["bash", "-c", "exec java -Dquarkus.http.host=0.0.0.0 -Dquarkus.log.file.enable=false $JAVA_OPTS_APPEND -jar /deployments/quarkus-run.jar"]
