"""Sends traces to a collector: OTLP over HTTP, by the libraries of OpenTelemetry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from oncopixel_pacs import __version__
from oncopixel_pacs.domain.spans import Span
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import TracingSettings
from oncopixel_pacs.traces.story import span_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

#: How long a collector may take, its retries included.
TIMEOUT_SECONDS = 10.0
_SCOPE = "oncopixel_pacs"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class TraceReceiver(Protocol):
    """Where traces go."""

    def send(self, trace_id: int, spans: Sequence[Span]) -> bool:
        """Send spans of one trace; whether they were taken."""
        ...

    def close(self) -> None:
        """End a call under way."""
        ...


def open_receiver(settings: TracingSettings, executor: str) -> TraceReceiver:
    """Return what sends to the configured collector.

    Raises
    ------
    ConfigurationError
        When the libraries of OpenTelemetry are not installed.
    """
    try:
        return OtlpReceiver(settings, executor)
    except ImportError as exc:
        raise ConfigurationError(
            "[tracing] needs the libraries of OpenTelemetry; install them with "
            "pip install 'oncopixel-pacs[tracing]', or remove its endpoint."
        ) from exc


class OtlpReceiver:
    """A collector that takes OTLP over HTTP.

    Parameters
    ----------
    executor
        Name of this host, told as ``service.instance.id``.
    """

    def __init__(self, settings: TracingSettings, executor: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # Each failure would be logged with its traceback; ours says it in a sentence.
        for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._exporter: Any = OTLPSpanExporter(
            endpoint=settings.address,
            headers=settings.header_values,
            timeout=TIMEOUT_SECONDS,
        )
        self._scope = InstrumentationScope(_SCOPE, __version__)
        self._resource = Resource(
            {
                "service.name": settings.service_name,
                "service.version": __version__,
                "service.instance.id": executor,
            }
        )

    def send(self, trace_id: int, spans: Sequence[Span]) -> bool:
        """Send spans of one trace; whether they were taken."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        told = [self._told(trace_id, span) for span in spans]
        return bool(self._exporter.export(told) is SpanExportResult.SUCCESS)

    def close(self) -> None:
        """End a call under way."""
        self._exporter.shutdown()

    def _told(self, trace_id: int, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(key: str) -> SpanContext:
            flags = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(trace_id, span_id_of(trace_id, key), False, flags)

        return ReadableSpan(
            name=span.name,
            context=context(span.key),
            parent=context(span.parent) if span.parent else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            events=[
                Event(item.name, dict(item.attributes), _nanoseconds(item.at))
                for item in span.moments
            ],
            kind=SpanKind[span.kind.name],
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=_nanoseconds(span.start),
            end_time=_nanoseconds(span.end),
            instrumentation_scope=self._scope,
        )


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
