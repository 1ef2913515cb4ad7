"""What docs/integrations/django.md takes for granted: a project."""

from django.conf import settings

if not settings.configured:
    settings.configure()

FILES = {
    "whole.py": """
from shop.settings import *

SECRET_KEY = "of the tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
""",
    "shop/wsgi.py": """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
""",
}
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "whole"}
