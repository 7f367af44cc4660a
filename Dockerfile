# Two images of one wheel: `serving` answers requests, `pipelines` does everything else.
#
#   docker build --target serving   -t opportune-serving .
#   docker build --target pipelines -t opportune-pipelines .
#
# tests/test_dockerfile.py runs these very steps in clean environments. No source is copied
# into an image that runs, so no working directory can shadow what is installed.

FROM python:3.11-slim AS interpreter
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The wheel, built by pinned tools taken from the lock.
FROM interpreter AS wheel
WORKDIR /source
COPY requirements.lock ./
RUN awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
        requirements.lock > /tools.lock \
    && pip install --quiet --require-hashes -r /tools.lock
COPY pyproject.toml README.md LICENSE ./
COPY features features
COPY models models
COPY training training
COPY serving serving
COPY pipelines pipelines
RUN python -m hatchling build -t wheel -d /dist

FROM interpreter AS serving-packages
RUN python -m venv /opt/opportune
ENV PATH=/opt/opportune/bin:$PATH
COPY requirements-serving.lock /locks/
RUN pip install --quiet --require-hashes -r /locks/requirements-serving.lock
COPY --from=wheel /dist /dist
RUN pip install --quiet --no-deps /dist/*.whl \
    && python -m compileall -q /opt/opportune/lib

FROM interpreter AS pipelines-packages
RUN python -m venv /opt/opportune
ENV PATH=/opt/opportune/bin:$PATH
COPY requirements.lock /locks/
RUN pip install --quiet --require-hashes --no-deps -r /locks/requirements.lock
COPY --from=wheel /dist /dist
RUN pip install --quiet --no-deps /dist/*.whl \
    && python -m compileall -q /opt/opportune/lib

# What both images run as: nobody in particular, who owns one directory.
FROM interpreter AS runtime
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/opportune opportune
ENV PATH=/opt/opportune/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/opportune

FROM runtime AS pipelines
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=pipelines-packages /opt/opportune /opt/opportune
USER 10001
ENTRYPOINT ["opportune"]
CMD ["--help"]

FROM runtime AS serving
COPY --from=serving-packages /opt/opportune /opt/opportune
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["python", "-m", "serving"]
