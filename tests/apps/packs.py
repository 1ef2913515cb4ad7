"""The sagas of several packs in one app, so that one stack plays them all."""

from sagahook_approvals.app import expense
from sagahook_document_ingestion.app import DocumentIngestion
from sagahook_travel.app import Transfers, Trip

__all__ = ["DocumentIngestion", "Transfers", "Trip", "expense"]
