"""imaged and netd, as this daemon uses them."""
