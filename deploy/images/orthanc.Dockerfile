# Orthanc with DICOMweb, forwarding new mammograms to OncoPixel.
#   docker build -f deploy/images/orthanc.Dockerfile -t oncopixel/orthanc .
ARG BASE=debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716
# hadolint ignore=DL3006
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl orthanc orthanc-dicomweb orthanc-python \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/orthanc/*.json \
    && chmod 0755 /var/lib/orthanc && install -d -o 10002 -g 10002 -m 0700 /var/lib/orthanc/db
COPY deploy/orthanc/orthanc.json deploy/orthanc/oncopixel_forward.py /etc/orthanc/
USER 10002:10002
VOLUME /var/lib/orthanc/db
EXPOSE 4242 8042
# Any answer will do: it asks for a password.
HEALTHCHECK --interval=15s --timeout=5s CMD ["curl", "-sSo", "/dev/null", "http://127.0.0.1:8042/"]
CMD ["Orthanc", "/etc/orthanc/orthanc.json"]
