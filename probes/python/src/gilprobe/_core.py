"""The extension module that fires the markers; where it is not there, what has the same interface and fires nothing."""

__all__ = ["HAS_MARKERS", "Span", "Steps", "carry", "current", "follow", "is_traced", "span_in"]

try:
    from gilprobe._gilprobe import Span, Steps, carry, current, follow, is_traced, span_in

    HAS_MARKERS = True
except ImportError:
    from gilprobe._without_markers import (  # type: ignore[assignment]
        Span,
        Steps,
        carry,
        current,
        follow,
        is_traced,
        span_in,
    )

    HAS_MARKERS = False
