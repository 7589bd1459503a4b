# Two images from one file:
#   docker build --target cpu  -t polymera .
#   docker build --target cuda -t polymera:cuda .
# The store is a volume: models, data and checkpoints outlive the container. The admin token is made in it at the first start.

FROM python:3.11-slim-bookworm AS base
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends curl default-jre-headless npm \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 polymera
WORKDIR /app
ENV PYTHONUNBUFFERED=1 PATH=/app/.venv/bin:$PATH POLYMERA_STORE=/store
RUN python -m venv .venv
COPY requirements.lock ./

FROM base AS installed-cpu
COPY requirements-vllm.lock ./
# The CPU build of torch has an index of its own; name it with --build-arg where pip does not know it.
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir --no-deps -r requirements.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r requirements-vllm.lock

FROM base AS installed-cuda
# vLLM for CUDA brings the torch that it was built for; ours gives way.
RUN grep -v '^torch==' requirements.lock > rest.lock \
    && pip install --no-cache-dir vllm==0.33.0 \
    && pip install --no-cache-dir --no-deps -r rest.lock

FROM installed-cpu AS cpu-code
FROM installed-cuda AS cuda-code

FROM cpu-code AS cpu
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && mkdir /store && cp -r store/checkpoints /store/ && rm -rf store && chown -R polymera /store
USER polymera
VOLUME /store
EXPOSE 8000 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD curl -fsS http://127.0.0.1:8000/readyz
CMD ["python", "scripts/serve.py", "--host", "0.0.0.0"]
