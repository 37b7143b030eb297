# The trainer, for a CPU or for an NVIDIA GPU. Build it in the repository's root:
#     docker build --file docker/trainer.Dockerfile --target cpu --build-arg TORCH_INDEX=ADDRESS --tag recblr-trainer .
#     docker build --file docker/trainer.Dockerfile --target cuda --tag recblr-trainer:cuda .
#
# All builds of torch have the one pinned version; the package index decides which build is installed. pip's default
# index has the CUDA build for Linux, which takes several GB and runs on a CPU too. TORCH_INDEX adds another index: use
# the one with CPU builds, which PyTorch's install page names. Its versions have a local suffix (+cpu), and pip prefers
# them to the same version without a suffix.

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
COPY docker/install-trainer.sh docker/trainer.lock docker/torch.lock docker/

FROM build AS build-cpu
ARG TORCH_INDEX=""
RUN TORCH_INDEX="$TORCH_INDEX" sh docker/install-trainer.sh

FROM build AS build-cuda
RUN sh docker/install-trainer.sh

FROM ${PYTHON_IMAGE} AS base
# The server's image has the same user, so both can use one volume of bundles.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin recblr \
    && install --directory --owner=recblr --group=recblr /data /bundles /runs
COPY LICENSE NOTICE /usr/share/doc/recblr-service/
ENV PATH=/opt/recblr/bin:$PATH
WORKDIR /runs
# Python handles SIGINT by default. It ignores SIGTERM as the first process of a container and is killed 10 s later.
STOPSIGNAL SIGINT
ENTRYPOINT ["recblr-train"]

# torch's wheels contain CUDA, and the host's container runtime provides the driver: no CUDA base image is needed.
FROM base AS cuda
# Triton compiles the launchers of its kernels with a C compiler at their first run. Versions are not pinned: Debian
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
