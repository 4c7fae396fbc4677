# The service as a container, for `dcos marathon app add fob-service.json` or a machine of one's own:
#   docker build -t fob .
#   docker run -p 127.0.0.1:9999:9999 fob
ARG PYTHON_IMAGE=python:3-slim
FROM ${PYTHON_IMAGE}

# Where pip finds packages. The build context is at /context: with a folder `wheels` in it,
# --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/context/wheels builds without a network.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG PIP_INDEX_URL
RUN --mount=type=bind,target=/context \
    python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      -r /context/service/requirements.txt

COPY service /opt/fob
RUN python -m compileall -q /opt/fob && mkdir -p /var/lib/fob && chown 10001:10001 /var/lib/fob

# In a container, 127.0.0.1 would be reachable by nobody: what is published is up to `docker run -p`.
ENV PYTHONUNBUFFERED=1 FOB_HOST=0.0.0.0 FOB_PORT=9999 FOB_HOME=/var/lib/fob
USER 10001:10001
WORKDIR /opt/fob
VOLUME /var/lib/fob
EXPOSE 9999

HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-c", \
  "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"FOB_PORT\"]}/api/stats', timeout=4)"]

# no shell in between: python is PID 1 and gets the SIGTERM itself
CMD ["python", "fob_dispatcher.py"]
