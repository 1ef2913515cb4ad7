"""An order is reserved, charged and shipped, or undone: the example that `sagahook demo` plays."""
