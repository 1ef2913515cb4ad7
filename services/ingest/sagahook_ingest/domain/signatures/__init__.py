"""Who sent a webhook: the signature schemes of docs/reference/signatures.md, pure and over the raw bytes."""

from __future__ import annotations

from collections.abc import Sequence

from sagahook.runtime.sources import SchemeName
from sagahook_ingest.domain.signatures.bodies import GenericHmac, GitHub, Shopify
from sagahook_ingest.domain.signatures.credentials import ApiKey, Basic, Bearer, Unverified
from sagahook_ingest.domain.signatures.fields import DEFAULT_FIELDS, Fields
from sagahook_ingest.domain.signatures.scheme import MOST_SECRETS, Options, Scheme, Unsigned
from sagahook_ingest.domain.signatures.standard import StandardWebhooks
from sagahook_ingest.domain.signatures.timed import Slack, Stripe

__all__ = ["DEFAULT_FIELDS", "Fields", "Options", "Scheme", "Unsigned", "scheme_of"]


def scheme_of(name: SchemeName, secrets: Sequence[str], options: Options) -> Scheme:
    """Any of the secrets verifies, the first signs. Raises ValueError, which never quotes a secret, where one has
    not the scheme's form."""
    if name == "none":
        return Unverified()
    if not secrets:
        raise ValueError(f"the scheme {name} needs at least one secret")
    if len(secrets) > MOST_SECRETS:
        raise ValueError(f"a source has at most {MOST_SECRETS} secrets, not {len(secrets)}")
    for number, secret in enumerate(secrets, 1):
        if not secret:
            raise ValueError(f"secret {number} is empty")
    match name:
        case "github":
            return GitHub(secrets)
        case "standard":
            return StandardWebhooks(secrets, options)
        case "stripe":
            return Stripe(secrets, options)
        case "slack":
            return Slack(secrets, options)
        case "shopify":
            return Shopify(secrets)
        case "hmac":
            return GenericHmac(secrets, options)
        case "bearer":
            return Bearer(secrets)
        case "basic":
            return Basic(secrets, options)
        case "api_key":
            return ApiKey(secrets, options)
