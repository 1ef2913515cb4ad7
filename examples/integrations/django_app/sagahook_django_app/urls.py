from django.urls import include, path

from sagahook_django_app import views

urlpatterns = [
    path("", include("sagahook.integrations.django.urls")),
    path("orders", views.place_order),
    path("orders/<str:order_id>", views.show_order),
]
