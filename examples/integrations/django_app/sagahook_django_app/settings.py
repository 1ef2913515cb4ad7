"""As little as a Django project needs, and what sagahook is told."""

import os

from sagahook.integrations import client

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for the example")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "sagahook_django_app.urls"
INSTALLED_APPS = ["sagahook.integrations.django"]
MIDDLEWARE = [
    "sagahook.integrations.django.middleware.SagahookMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]

SAGAHOOK = client()  # SAGAHOOK_URL says where ingest and the status API are
