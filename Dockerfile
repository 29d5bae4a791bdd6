# A small image that runs as nobody in particular. Mount the configuration and a place for the state:
#   docker build -t banyan .
#   docker run -p 8080:8080 -v "$PWD/routes.yaml:/etc/banyan/routes.yaml:ro" -v banyan:/var/lib/banyan banyan
# The file must listen on 0.0.0.0:8080 there, since 127.0.0.1 is the container's own.

# With a C compiler: what is built here is a wheel with the data plane compiled.
FROM python:3.11 AS build
WORKDIR /src
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY proxy proxy
COPY comparators comparators
COPY demo demo
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt
ENV BANYAN_COMPILE=1
RUN python -m venv /opt/banyan
RUN python -m venv /opt/build
RUN /opt/build/bin/python -m pip install --quiet setuptools mypy msgspec
RUN /opt/build/bin/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir /opt/build/wheel .
RUN /opt/banyan/bin/python -m pip install --quiet /opt/build/wheel/*.whl
RUN /opt/banyan/bin/python -m pip uninstall --quiet --yes pip setuptools

FROM python:3.11-slim
RUN groupadd --gid 10001 banyan
RUN useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin banyan
RUN install -d -m 0755 /etc/banyan
RUN install -d -m 0700 -o 10001 -g 10001 /var/lib/banyan
COPY --from=build /opt/banyan /opt/banyan
ENV PATH=/opt/banyan/bin:$PATH PYTHONDONTWRITEBYTECODE=1
ENV BANYAN_CONFIG=/etc/banyan/routes.yaml BANYAN_STATE=sqlite:/var/lib/banyan/state.db
ENV HEALTH_URL=http://127.0.0.1:9090/readyz
USER 10001:10001
WORKDIR /var/lib/banyan
VOLUME /var/lib/banyan
EXPOSE 8080
STOPSIGNAL SIGTERM
# Ready: clients can be answered. While one of several workers is being restarted it still is.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(os.environ['HEALTH_URL'], timeout=2)"]
ENTRYPOINT ["banyan"]
CMD ["serve"]
