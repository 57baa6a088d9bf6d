# The page and the HTTP API, without root and without writing to its root file system:
# docker compose up
FROM python:3.12-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir -c constraints.txt ".[app]" \
    && /app/bin/python -m compileall -q /app

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Genrescope" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
RUN useradd --system --uid 10001 --home-dir /data --create-home genrescope
ENV PATH=/app/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz')"]
# GENRESCOPE_API_KEY has to be set: others can reach this address.
ENTRYPOINT ["genrescope"]
CMD ["serve", "--host", "0.0.0.0"]
