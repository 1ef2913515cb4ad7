"""Django.

# settings.py
INSTALLED_APPS = […, "sagahook.integrations.django"]
MIDDLEWARE = ["sagahook.integrations.django.middleware.SagahookMiddleware", …]
SAGAHOOK = publish()  # or client(…); from sagahook.integrations

# urls.py
urlpatterns = [path("", include("sagahook.integrations.django.urls")), …]

# views.py
from sagahook.integrations.django.saga import saga

saga.run_sync("order_created", {…})
"""
