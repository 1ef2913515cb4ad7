"""What the images are made from: base images by digest, what is known of our dependencies, and the list of them."""
