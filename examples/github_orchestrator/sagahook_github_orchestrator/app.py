"""The sagas of the app. `sagahook check sagahook_github_orchestrator.app` shows them."""

from sagahook_github_orchestrator.agents import CodegenTrigger
from sagahook_github_orchestrator.analyses import PullRequestAnalysis, PushAnalysis
from sagahook_github_orchestrator.failures import CheckFailureAnalysis, CheckSuiteFailureAnalysis

__all__ = [
    "CheckFailureAnalysis",
    "CheckSuiteFailureAnalysis",
    "CodegenTrigger",
    "PullRequestAnalysis",
    "PushAnalysis",
]
