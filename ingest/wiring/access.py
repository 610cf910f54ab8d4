"""Builds access control: API keys and rate limits."""

from ingest.auth.access import Access
from ingest.auth.keys import KeyRing
from ingest.auth.rate_limits import RateLimits
from ingest.config.settings import Settings


def build_access(settings: Settings) -> Access:
    """Read the file with the keys, and set the rate limits.

    Raises:
        KeysError: the file with the keys can't be read.
    """
    rates = settings.rate_limits
    limits = RateLimits(
        {"requests": rates.requests, "events": rates.events, "failures": rates.failures},
        redis_url=settings.redis_url,
    )
    return Access(KeyRing(settings.keys_file), limits)
