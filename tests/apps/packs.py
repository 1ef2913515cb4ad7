"""The sagas of several packs in one app, so that one stack plays them all."""

from sagahook_approvals.app import expense
from sagahook_document_ingestion.app import DocumentIngestion
from sagahook_github_orchestrator.app import (
    CheckFailureAnalysis,
    CheckSuiteFailureAnalysis,
    CodegenTrigger,
    PullRequestAnalysis,
    PushAnalysis,
)
from sagahook_orders.app import Order
from sagahook_travel.app import Transfers, Trip
from sagahook_wiki_generation.app import wiki_generation

__all__ = [
    "CheckFailureAnalysis",
    "CheckSuiteFailureAnalysis",
    "CodegenTrigger",
    "DocumentIngestion",
    "Order",
    "PullRequestAnalysis",
    "PushAnalysis",
    "Transfers",
    "Trip",
    "expense",
    "wiki_generation",
]
