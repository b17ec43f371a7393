# One image for every role: the command says which (`api ...`, `consumer ...`, `topics provision`, ...).
# Health checks belong to the role, not to the image: docker-compose.yml has them.

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
COPY requirements/image.lock requirements/
# Without a pip of its own: nothing can be installed into the finished image by its own tools.
RUN python -m venv --without-pip /opt/streamlake \
 && pip --python /opt/streamlake install --no-cache-dir --require-hashes -r requirements/image.lock
COPY pyproject.toml README.md ./
COPY src/ src/
# What only building needs goes again; `packaging` and the like stay out too, nothing else asks for them.
RUN pip --python /opt/streamlake install --no-cache-dir --no-deps --no-build-isolation . \
 && pip --python /opt/streamlake uninstall --yes \
      editables hatchling packaging pathspec pluggy setuptools trove-classifiers

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 streamlake \
 && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin streamlake \
 && install -d -o streamlake -g streamlake /app/.streamlake
WORKDIR /app
COPY --from=build /opt/streamlake /opt/streamlake
# The contracts at hand; mount other ones over them.
COPY contracts/ contracts/
ENV PATH=/opt/streamlake/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
# 8080: the API. 8081: health and metrics of a consumer that is given --http-port 8081.
EXPOSE 8080 8081
ENTRYPOINT ["streamlake"]
CMD ["--help"]
