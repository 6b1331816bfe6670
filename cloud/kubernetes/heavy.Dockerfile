# MLServer with the runtime of heavy models. Build it from the repository's root:
#   docker build -f cloud/kubernetes/heavy.Dockerfile -t registry.example/nearhand-heavy:0.1.0 .
FROM python:3.11-slim
COPY constraints.txt pyproject.toml README.md LICENSE /src/
COPY sdk /src/sdk
COPY cloud /src/cloud
RUN pip install --no-cache-dir --constraint /src/constraints.txt /src "/src/cloud[heavy]" && rm -rf /src
USER 10001
ENV MLSERVER_PARALLEL_WORKERS=0 OMP_NUM_THREADS=1
CMD ["mlserver", "start", "/mnt/models"]
