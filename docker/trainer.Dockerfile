# The one-shot trainer: makes the demo's bundle and publishes its users. An index of CPU builds of torch may be named
# with --build-arg PIP_EXTRA_INDEX_URL=...; the default build on x86 brings CUDA libraries that the demo does not use.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${PYTHON_IMAGE} AS build
ARG PIP_EXTRA_INDEX_URL
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/build.txt requirements/trainer.txt requirements/
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model model
COPY service service
COPY training training
COPY dinrank dinrank
RUN python -m venv /opt/dinrank \
    && /opt/dinrank/bin/pip install --require-hashes --requirement requirements/trainer.txt \
    && /opt/dinrank/bin/pip install --constraint constraints.txt torch \
    && pip install --require-hashes --requirement requirements/build.txt \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/dinrank/bin/pip install --no-deps --no-index /wheel/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 dinrank && useradd --uid 10001 --gid dinrank --create-home --shell /usr/sbin/nologin dinrank \
    && mkdir -p /bundles /data && chown dinrank:dinrank /bundles /data
COPY --from=build /opt/dinrank /opt/dinrank
COPY docker/make-demo-bundle.sh /usr/local/bin/make-demo-bundle
ENV PATH=/opt/dinrank/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 \
    NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
USER dinrank
VOLUME ["/bundles", "/data"]
CMD ["make-demo-bundle"]
