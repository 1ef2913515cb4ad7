"""How sagahook is deployed: images, manifests, monitoring; and what checks them."""
