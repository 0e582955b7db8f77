# locust with its web page on port 8089.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model/__init__.py model/auction.py model/py.typed model/
COPY model/bundle model/bundle
COPY service service
RUN python -m venv /opt/dinrank \
    && /opt/dinrank/bin/pip install --constraint constraints.txt '.[service,load]'

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 dinrank && useradd --uid 10001 --gid dinrank --no-create-home --shell /usr/sbin/nologin dinrank
COPY --from=build /opt/dinrank /opt/dinrank
COPY tests/load/locustfile.py /opt/locustfile.py
ENV PATH=/opt/dinrank/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER dinrank
EXPOSE 8089
CMD ["locust", "--locustfile", "/opt/locustfile.py"]
