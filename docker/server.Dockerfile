# The server on a CPU: no torch and no compiler. Build it from the repository's root:
#     docker build --file docker/server.Dockerfile --tag recblr-server .

FROM python:3.12-slim AS build
RUN python -m venv /opt/recblr
ENV PATH=/opt/recblr/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY service service
COPY model model
RUN pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
# A fixed number, so that whoever mounts a volume knows whose it must be. The trainer's image has the same.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin recblr \
    && install --directory --owner=recblr --group=recblr /data /bundles /var/cache/recblr
COPY --from=build /opt/recblr /opt/recblr
# A new volume that is mounted on /bundles starts as a copy of this, so there is a model before the first training.
COPY --chown=recblr:recblr bundles/ml-1m-demo /bundles/ml-1m-demo
COPY LICENSE NOTICE /usr/share/doc/recblr-service/
# In a container the port is published from outside, so the server listens on every address.
ENV PATH=/opt/recblr/bin:$PATH \
    RECBLR_HOST=0.0.0.0 \
    RECBLR_PORT=8000 \
    RECBLR_BUNDLE=/bundles \
    RECBLR_STATE_URL=sqlite:////data/recblr.db \
    NUMBA_CACHE_DIR=/var/cache/recblr
USER 10001:10001
WORKDIR /data
# The engine's machine code is made here, so that a container does not spend its first half minute on it. A processor
# of another kind than this one makes its own; that is why the folder is a volume, writable in a read-only container.
RUN python -c "from pathlib import Path; from model.bundle.bundle import load_bundle; from service.engine.cpu.cpu_engine import CpuEngine; from service.engine.loader import warm; warm(CpuEngine(load_bundle(Path('/bundles/ml-1m-demo')), 1000))"
VOLUME ["/data", "/var/cache/recblr"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['RECBLR_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["recblr-serve"]
