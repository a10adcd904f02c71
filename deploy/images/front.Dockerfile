# TLS front with OHIF: nginx as nobody, nothing to write to but /tmp.
#   docker build -f deploy/images/front.Dockerfile -t oncopixel/front .
ARG BASE=debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716

# hadolint ignore=DL3006
FROM ${BASE} AS viewer
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*
ARG OHIF_URL=https://registry.npmjs.org/@ohif/app/-/app-3.13.2.tgz
ARG OHIF_SHA512=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
RUN curl -fsSLo /ohif.tgz "${OHIF_URL}" \
    && echo "${OHIF_SHA512}  /ohif.tgz" | sha512sum -c - \
    && mkdir /ohif && tar -xzf /ohif.tgz -C /ohif --strip-components=2 package/dist
COPY oncopixel_pacs/viewer/app-config.js /ohif/app-config.js

# hadolint ignore=DL3006
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl gettext-base nginx-light \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/nginx/sites-enabled
COPY --from=viewer /ohif /srv/ohif
COPY deploy/nginx/front.conf.template deploy/nginx/start /etc/oncopixel/
USER 65534:65534
EXPOSE 8443 8444
HEALTHCHECK --interval=15s --timeout=5s CMD ["curl", "-fsSko", "/dev/null", "https://127.0.0.1:8443/health/live"]
CMD ["/etc/oncopixel/start"]
