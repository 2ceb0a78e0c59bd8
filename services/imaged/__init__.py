"""imaged: images, layers and the snapshots that containers stand on."""
