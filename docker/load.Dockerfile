# locust with its web page on port 8089.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/build.txt requirements/load.txt requirements/
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model/__init__.py model/auction.py model/
COPY model/bundle model/bundle
COPY service service
COPY dinrank dinrank
RUN rm dinrank/training \
    && python -m venv /opt/dinrank \
    && /opt/dinrank/bin/pip install --require-hashes --requirement requirements/load.txt \
    && pip install --require-hashes --requirement requirements/build.txt \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/dinrank/bin/pip install --no-deps --no-index /wheel/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 dinrank && useradd --uid 10001 --gid dinrank --no-create-home --shell /usr/sbin/nologin dinrank
COPY --from=build /opt/dinrank /opt/dinrank
COPY tests/load/locustfile.py /opt/locustfile.py
ENV PATH=/opt/dinrank/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER dinrank
EXPOSE 8089
CMD ["locust", "--locustfile", "/opt/locustfile.py"]
