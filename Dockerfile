# syntax=docker/dockerfile:1
# Two stages: the first builds a virtual environment from the hashed lock, the second holds nothing else.
FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/waybill
COPY requirements/image.lock requirements/image.lock
RUN /opt/waybill/bin/pip install --require-hashes --requirement requirements/image.lock
COPY pyproject.toml README.md LICENSE routes.yaml ./
COPY gateway gateway
RUN /opt/waybill/bin/pip install --no-deps --no-build-isolation . \
 && /opt/waybill/bin/python -m compileall -q /opt/waybill/lib

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="Waybill" \
      org.opencontainers.image.description="An OpenAI-compatible gateway for image work that leaves a waybill for every picture" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 waybill && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data waybill \
 && install -d -o waybill -g waybill -m 0700 /data
COPY --from=build /opt/waybill /opt/waybill
ENV PATH=/opt/waybill/bin:$PATH PYTHONUNBUFFERED=1 WAYBILL_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8484
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["waybill", "health"]
ENTRYPOINT ["waybill"]
CMD ["serve"]
