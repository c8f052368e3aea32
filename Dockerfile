# The sink workers: slim, not root, ready for a read-only root file system (only /tmp is written).
#
# Optional secrets of the build, for networks with a proxy or a package mirror of their own (docs/docker.md):
#   ca        certificates to trust, PEM
#   pip_conf  pip's configuration
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
RUN python3 -m venv /opt/cdc
WORKDIR /build
COPY requirements/run.txt requirements/run.txt
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    if [ -s /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi && \
    /opt/cdc/bin/pip install --disable-pip-version-check --require-hashes --only-binary :all: \
      -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY sql/postgres sql/postgres
COPY sinks sinks
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    if [ -s /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi && \
    /opt/cdc/bin/pip install --disable-pip-version-check --no-deps . && \
    /opt/cdc/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/cdc /opt/cdc
COPY cdc.toml /etc/cdc/cdc.toml
ENV PATH=/opt/cdc/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CDC_CONFIG=/etc/cdc/cdc.toml \
    HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 8181 8182
# Whether the worker runs, not whether all is well elsewhere: an outage of a target restarts nothing.
HEALTHCHECK --interval=15s --timeout=30s --start-period=30s --retries=4 CMD ["cdc", "health", "--live"]
CMD ["cdc", "run"]
