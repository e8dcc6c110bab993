"""Assignment: which symbols a challenger serves in an A/B test; the same ones in every process, for ever."""

import hashlib


def served_by_challenger(symbol: str, share: float) -> bool:
    """Whether a symbol belongs to the share (0 to 1) that the challenger serves; a larger share keeps the smaller's."""
    position = int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:8]) / 2**64
    return position < share
