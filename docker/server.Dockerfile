# The server on a CPU, without torch and without a compiler. Build it in the repository's root:
#     docker build --file docker/server.Dockerfile --tag recblr-server .

# docker/pin-images.sh pins the image by its digest.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /opt/recblr
ENV PATH=/opt/recblr/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY service service
COPY model model
COPY ingest ingest
COPY docker/install-server.sh docker/server.lock docker/
RUN sh docker/install-server.sh

FROM ${PYTHON_IMAGE}
# A fixed user id, so that a mounted volume can be given to it. The trainer's image has the same user.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin recblr \
    && install --directory --owner=recblr --group=recblr /data /bundles /var/cache/recblr
COPY --from=build /opt/recblr /opt/recblr
# A new volume mounted on /bundles starts as a copy of this folder, so there is a model before the first training.
COPY --chown=recblr:recblr bundles/ml-1m-demo /bundles/ml-1m-demo
COPY LICENSE NOTICE /usr/share/doc/recblr-service/
# Docker publishes the port, so the server listens on every address of the container.
ENV PATH=/opt/recblr/bin:$PATH \
    RECBLR_HOST=0.0.0.0 \
    RECBLR_PORT=8000 \
    RECBLR_BUNDLE=/bundles \
    RECBLR_STATE_URL=sqlite:////data/recblr.db \
    RECBLR_CATALOGUE_FOLDER=/var/cache/recblr \
    NUMBA_CACHE_DIR=/var/cache/recblr
USER 10001:10001
WORKDIR /data
# Compile the engine's kernels now: a start that compiles them takes half a minute longer. Another kind of processor
# than the build's compiles its own; for that the folder is a volume, writable in a read-only container.
RUN recblr-serve --precompile
VOLUME ["/data", "/var/cache/recblr"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['RECBLR_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["recblr-serve"]
