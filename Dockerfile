# syntax=docker/dockerfile:1
# The worker, without weights: `moderation-worker models fetch` gets them into a volume. GPU: PyPI's torch brings CUDA
# along, the node the driver. Nothing is written outside of /tmp and what is mounted.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY requirements.lock ./
# --no-deps: the lock is complete, see the Makefile.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY worker ./worker
# The lock has the tools of development as well: they go, and the stand-ins show that nothing was missed.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/venv/bin/pip uninstall --yes confluent-kafka hypothesis import-linter mypy pre-commit pytest pytest-asyncio \
        pytest-xdist execnet ruff testcontainers types-jsonschema uv scikit-learn cloudpickle joblib narwhals scipy threadpoolctl \
    && /opt/venv/bin/moderation-worker classify --stand-in --text "the guards still load"

FROM python:${PYTHON}-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="moderation-worker" \
      org.opencontainers.image.description="Judges chat events from Kafka with Llama Guard 4 and Prompt Guard 2. Built with Llama." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin moderation \
    && install -d -o 10001 -g 10001 /var/cache/moderation /run/moderation
COPY --from=build /opt/venv /opt/venv
COPY LICENSE NOTICE /usr/share/doc/moderation-worker/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    LOGNAME=moderation \
    HF_HOME=/tmp/huggingface \
    MODERATION_MODEL_CACHE=/var/cache/moderation/hub \
    MODERATION_JOURNAL_DIR=/run/moderation \
    MODERATION_LOG_FORMAT=json
WORKDIR /tmp
USER 10001:10001
EXPOSE 6066
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own. Ten minutes to load the models.
HEALTHCHECK --interval=15s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ.get('MODERATION_WEB_PORT', '6066')}/healthz\", timeout=4)"]
ENTRYPOINT ["moderation-worker"]
CMD ["run"]
