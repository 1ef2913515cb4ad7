"""`path("", include("sagahook.integrations.django.urls"))`"""

from __future__ import annotations

from django.urls import path

from sagahook.integrations.django import views

app_name = "sagahook"
urlpatterns = [
    path("health", views.health, name="health"),
    path("webhooks/status/<str:saga_id>", views.saga_status, name="saga"),
    path("webhooks/<str:source>", views.webhook, name="webhook"),
    path("webhooks/<str:source>/batch", views.batch, name="batch"),
    path("webhooks/<str:source>/status/<str:correlation_id>", views.status, name="status"),
]
