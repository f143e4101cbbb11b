# FaceOps in a container. Default target: identification, without torch.
#   docker build -t faceops .
#   docker run --user "$(id -u)" -v "$PWD:/here" -w /here faceops enrol people
#   docker run --user "$(id -u)" -v "$PWD:/here" -w /here faceops identify photos --out found
# Target `worker`: identification on several machines (docker-compose.scale.yml): the command, the
# flows, Dask, Prefect, MLflow, object stores and PostgreSQL, without what only rebuilding uses.
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

FROM builder AS slim-builder
RUN apt-get update && apt-get install -y --no-install-recommends binutils
COPY deploy/slim.sh ./

FROM slim-builder AS identify-builder
RUN sh slim.sh /opt/faceops/lib/python3*/site-packages
# The commands still work, from the nets to the report.
RUN cd "$(mktemp -d)" && mkdir -p people/nobody && export FACEOPS_WEIGHTS=/opt/faceops/weights \
  && /opt/faceops/bin/python -c \
    "from PIL import Image; Image.effect_noise((99, 99), 9).save('people/nobody/noise.jpg')" \
  && /opt/faceops/bin/faceops enrol people && /opt/faceops/bin/faceops identify people --out found

FROM slim-builder AS worker-builder
# boto3 is for MLflow's artifacts in a store; the extra s3 has only its core.
RUN for name in torch torchvision onnx onnxscript dvc safetensors imagehash matplotlib scikit-learn \
    skops docker; do echo "$name; python_version < '3'"; done >without.txt \
  && uv pip install -c requirements.lock --overrides without.txt '.[s3,postgres,dask]' boto3 \
  && sh slim.sh /opt/faceops/lib/python3*/site-packages
COPY flows /opt/faceops/flows
# Also what only a run loads.
RUN PYTHONPATH=/opt/faceops /opt/faceops/bin/python -c \
  "import flows.identify, great_expectations, mlflow, prefect_dask, s3fs, scipy.sparse"

FROM builder AS rebuild-builder
# Triton is for torch.compile, which needs a C++ compiler too; headers and checks are for builds.
RUN echo "triton; python_version < '3'" >without.txt \
  && uv pip install -c requirements.lock --overrides without.txt '.[rebuild,s3,postgres,dask]' boto3 \
  && cd /opt/faceops/lib/python3*/site-packages && rm -rf torch/include pyarrow/include \
  && find . -type d -name tests -prune -exec rm -rf {} + \
  && find . -name '*.a' -delete

FROM python:3.12-slim AS runtime
# Any user may write to the home and its caches: `--user` has no passwd entry and so no home.
RUN useradd --create-home --uid 10001 faceops \
  && mkdir -p /home/faceops/.cache/faceops && chmod -R a+rwX /home/faceops
# DVC asks for the name of the user.
ENV PATH=/opt/faceops/bin:$PATH PYTHONUNBUFFERED=1 USER=faceops \
  HOME=/home/faceops FACEOPS_CACHE=/home/faceops/.cache/faceops FACEOPS_WEIGHTS=/opt/faceops/weights
WORKDIR /home/faceops
# It loads the command, but no nets.
HEALTHCHECK --interval=5m --timeout=30s --start-period=10s CMD ["faceops", "--version"]
ENTRYPOINT ["faceops"]
CMD ["--help"]

FROM runtime AS rebuild
RUN apt-get update && apt-get install -y --no-install-recommends git \
  && rm -rf /var/lib/apt/lists/*
COPY --from=rebuild-builder /opt/faceops /opt/faceops
USER faceops

FROM runtime AS worker
COPY --from=worker-builder /opt/faceops /opt/faceops
ENV PYTHONPATH=/opt/faceops
USER faceops

FROM runtime AS identify
COPY --from=identify-builder /opt/faceops /opt/faceops
# With a read-only root, /tmp is the one place to write in.
ENV FACEOPS_CACHE=/tmp/faceops
USER faceops
