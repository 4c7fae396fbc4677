# The service as a container, for `dcos marathon app add fob-service.json` or for your own machine:
#   docker build -t fob .
#   docker run -p 127.0.0.1:9999:9999 fob
# Any builder will do: nothing here needs BuildKit.
ARG PYTHON_IMAGE=python:3-slim

FROM ${PYTHON_IMAGE} AS packages
# Where pip finds packages. With a folder `wheels` in the build context,
# --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/context builds without a network.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG PIP_INDEX_URL
# the pattern matches nothing where there is no such folder, which COPY allows beside another file
COPY service/requirements.txt wheels* /context/
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --prefix=/packages -r /context/requirements.txt

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="fob" \
      org.opencontainers.image.description="A serverless platform for Python: POST a file, get an endpoint" \
      org.opencontainers.image.source="https://github.com/mhausenblas/fob" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=packages /packages/ /usr/local/
COPY service /opt/fob
# The official images have no bytecode of the standard library; without it, every start of the
# service, of the engine and of each executed function compiles what it imports.
RUN python -m compileall -q /opt/fob "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && python -m compileall -q -x '/(test|tests|idlelib|lib2to3|turtledemo|site-packages)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && printf '#!%s\nimport sys\nsys.path.insert(0, "/opt/fob")\nfrom fob.cli import main\nsys.exit(main())\n' \
      "$(command -v python)" >/usr/local/bin/fob \
 && chmod 755 /usr/local/bin/fob \
 && mkdir -p /var/lib/fob && chown 10001:10001 /var/lib/fob

# On 127.0.0.1 inside a container the service would be unreachable; `docker run -p` decides what is published.
ENV PYTHONUNBUFFERED=1 FOB_HOST=0.0.0.0 FOB_PORT=9999 FOB_HOME=/var/lib/fob
USER 10001:10001
WORKDIR /opt/fob
VOLUME /var/lib/fob
EXPOSE 9999

HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-c", \
  "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"FOB_PORT\"]}/api/stats', timeout=4)"]

# Without a shell in between, python is PID 1 and receives SIGTERM itself.
CMD ["python", "fob_dispatcher.py"]
