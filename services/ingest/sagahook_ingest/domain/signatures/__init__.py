"""Who sent a webhook: the signature schemes of docs/reference/signatures.md, pure and over the raw bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sagahook.runtime.sources import SchemeName
from sagahook_ingest.domain.signatures.bodies import GenericHmac, GitHub, Shopify
from sagahook_ingest.domain.signatures.credentials import ApiKey, Basic, Bearer, Unverified
from sagahook_ingest.domain.signatures.fields import DEFAULT_FIELDS, Fields
from sagahook_ingest.domain.signatures.scheme import MOST_SECRETS, Options, Scheme, Unsigned
from sagahook_ingest.domain.signatures.standard import StandardWebhooks
from sagahook_ingest.domain.signatures.timed import Slack, Stripe

__all__ = ["DEFAULT_FIELDS", "Fields", "Options", "Scheme", "Unsigned", "scheme_of"]


_SCHEMES: Mapping[SchemeName, Callable[[Sequence[str], Options], Scheme]] = {
    "none": Unverified,
    "github": GitHub,
    "standard": StandardWebhooks,
    "stripe": Stripe,
    "slack": Slack,
    "shopify": Shopify,
    "hmac": GenericHmac,
    "bearer": Bearer,
    "basic": Basic,
    "api_key": ApiKey,
}


def scheme_of(name: SchemeName, secrets: Sequence[str], options: Options) -> Scheme:
    """Any of the secrets verifies, the first signs. Raises ValueError, which never quotes a secret, where one has
    not the scheme's form."""
    if not secrets and name != "none":
        raise ValueError(f"the scheme {name} needs at least one secret")
    if len(secrets) > MOST_SECRETS:
        raise ValueError(f"a source has at most {MOST_SECRETS} secrets, not {len(secrets)}")
    for number, secret in enumerate(secrets, 1):
        if not secret:
            raise ValueError(f"secret {number} is empty")
    return _SCHEMES[name](secrets, options)
