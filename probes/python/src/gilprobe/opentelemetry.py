"""Spans of OpenTelemetry, by their own trace and span ids."""

from __future__ import annotations

from typing import Optional

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from gilprobe import span


class GilSpanProcessor(SpanProcessor):
    """Begins and ends a span of gilprobe with each that the SDK records.

    The context in which one was started works for it until it ends: what `start_as_current_span` means. One that was started and not
    made current counts as current all the same.
    """

    def __init__(self) -> None:
        self._spans: dict[tuple[int, int], span] = {}

    def on_start(self, span: Span, parent_context: Optional[Context] = None) -> None:
        context = span.get_span_context()
        if context is None or not context.is_valid:
            return
        parent = span.parent
        begun = _begin(span.name, context.trace_id, context.span_id, None if parent is None else parent.span_id)
        self._spans[context.trace_id, context.span_id] = begun

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is not None:
            begun = self._spans.pop((context.trace_id, context.span_id), None)
            if begun is not None:
                begun.end()

    def shutdown(self) -> None:
        self._spans.clear()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def _begin(name: str, trace_id: int, span_id: int, parent_id: Optional[int]) -> span:
    return span(name, trace_id=trace_id, span_id=span_id, parent_id=parent_id).begin()
