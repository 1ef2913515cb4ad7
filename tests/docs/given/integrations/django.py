"""What docs/integrations/django.md takes for granted: a project."""

from django.conf import settings

if not settings.configured:
    settings.configure()
