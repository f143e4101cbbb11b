# FaceOps in a container. Default target: identification, without torch.
#   docker build -t faceops .
#   docker run --user "$(id -u)" -v "$PWD:/here" -w /here faceops enrol people
#   docker run --user "$(id -u)" -v "$PWD:/here" -w /here faceops identify photos --out found
# Target `rebuild`: everything, working on a mounted clone of the repository:
#   docker build --target rebuild -t faceops-rebuild .
#   docker run --user "$(id -u)" -v "$PWD:/repository" -w /repository --entrypoint dvc \
#     faceops-rebuild repro

FROM python:3.12-slim AS builder
RUN pip install --no-cache-dir 'uv>=0.8,<1' && python -m venv /opt/faceops
ENV VIRTUAL_ENV=/opt/faceops UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /source
# Dependencies first: this layer stays in the build cache when the sources change.
COPY pyproject.toml requirements.lock ./
RUN uv pip install -c requirements.lock -r pyproject.toml
COPY README.md weights.toml ./
COPY src ./src
RUN uv pip install -c requirements.lock .
# Those of the published release: the image names people without a network.
RUN FACEOPS_CACHE=/opt/faceops /opt/faceops/bin/faceops weights fetch yunet onet sface dlib

FROM builder AS rebuild-builder
RUN uv pip install -c requirements.lock '.[rebuild]'

FROM python:3.12-slim AS runtime
# Any user may write to the home and its caches: `--user` has no passwd entry and so no home.
RUN useradd --create-home --uid 10001 faceops \
  && mkdir -p /home/faceops/.cache/faceops && chmod -R a+rwX /home/faceops
ENV PATH=/opt/faceops/bin:$PATH PYTHONUNBUFFERED=1 \
  HOME=/home/faceops FACEOPS_CACHE=/home/faceops/.cache/faceops FACEOPS_WEIGHTS=/opt/faceops/weights
WORKDIR /home/faceops
# It loads the command, its packages and the catalogue of weights.
HEALTHCHECK --interval=5m --timeout=30s --start-period=10s \
  CMD ["faceops", "weights", "list", "--json"]
ENTRYPOINT ["faceops"]
CMD ["--help"]

FROM runtime AS rebuild
RUN apt-get update && apt-get install -y --no-install-recommends git \
  && rm -rf /var/lib/apt/lists/*
COPY --from=rebuild-builder /opt/faceops /opt/faceops
USER faceops

FROM runtime AS identify
COPY --from=builder /opt/faceops /opt/faceops
USER faceops
