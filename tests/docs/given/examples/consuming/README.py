"""Nobody is where the shop of the orders would be."""

from sagahook.embedded.ports import free_port

ENVIRONMENT = {"SHOP_URL": f"http://127.0.0.1:{free_port()}"}
