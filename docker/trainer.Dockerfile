# The trainer. Build it from the repository's root, for a CPU or for an NVIDIA GPU:
#     docker build --file docker/trainer.Dockerfile --target cpu --build-arg TORCH_INDEX=ADDRESS --tag recblr-trainer .
#     docker build --file docker/trainer.Dockerfile --target cuda --tag recblr-trainer:cuda .
#
# Which build of torch is installed is decided by the index that offers it, since all have the one pinned version.
# pip's default index has the CUDA build for Linux: several GB, and it runs on a CPU as well. TORCH_INDEX adds an
# index to pip's own: give it the one of CPU builds, which PyTorch's install page names. There the version carries a
# local suffix (+cpu), which pip prefers to the same version without one.

FROM python:3.12-slim AS build
RUN python -m venv /opt/recblr
ENV PATH=/opt/recblr/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY service service
COPY model model

FROM build AS build-cpu
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[train]'

FROM build AS build-cuda
RUN pip install --no-cache-dir --constraint constraints.txt '.[train]'

FROM python:3.12-slim AS base
# The server's image has the same user, so both may use one volume of bundles.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin recblr \
    && install --directory --owner=recblr --group=recblr /data /bundles /runs
COPY LICENSE NOTICE /usr/share/doc/recblr-service/
ENV PATH=/opt/recblr/bin:$PATH
WORKDIR /runs
# Python stops at SIGINT by itself; at SIGTERM a container's first process would not, and be killed 10 s later.
STOPSIGNAL SIGINT
ENTRYPOINT ["recblr-train"]

# CUDA itself comes with torch's wheels, and the driver from the host's container runtime: no CUDA base image is needed.
FROM base AS cuda
# Triton builds the launchers of its kernels with a C compiler when it first runs them. No versions are pinned: Debian
# offers one version at a time, so a pin would break the build at the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-cuda /opt/recblr /opt/recblr
USER 10001:10001

FROM base AS cpu
COPY --from=build-cpu /opt/recblr /opt/recblr
USER 10001:10001
