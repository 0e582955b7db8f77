# The scorer: FastAPI, ONNX Runtime and the bundle contract. No torch, no trainer, no compiler.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/build.txt requirements/service.txt requirements/
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model/__init__.py model/auction.py model/
COPY model/bundle model/bundle
COPY service service
COPY dinrank dinrank
RUN rm dinrank/training \
    && python -m venv /opt/dinrank \
    && /opt/dinrank/bin/pip install --require-hashes --requirement requirements/service.txt \
    && pip install --require-hashes --requirement requirements/build.txt \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/dinrank/bin/pip install --no-deps --no-index /wheel/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 dinrank && useradd --uid 10001 --gid dinrank --no-create-home --shell /usr/sbin/nologin dinrank
COPY --from=build /opt/dinrank /opt/dinrank
COPY docker/healthcheck.py /usr/local/lib/dinrank-healthcheck.py
ENV PATH=/opt/dinrank/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 PYTHONDONTWRITEBYTECODE=1 \
    DINRANK_HOST=0.0.0.0 DINRANK_PORT=8000 DINRANK_BUNDLE=/bundles/din-ml-100k \
    DINRANK_LOG_FORMAT=json
USER dinrank
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "/usr/local/lib/dinrank-healthcheck.py"]
CMD ["python", "-m", "dinrank.service", "serve"]
