"""What must hold between the parts of an image before anything of it is unpacked or named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.imaged.model import mediatype
from services.kit import errors

if TYPE_CHECKING:
    from services.imaged.model.config import ImageConfig
    from services.imaged.model.manifest import Manifest


def check_image(manifest: Manifest, config: ImageConfig) -> None:
    """Check that a manifest and its configuration describe one image that this program can unpack.

    Raises:
        errors.Invalid: With reason IMAGE_INVALID: they do not fit together.
        errors.Unsupported: With reason MEDIA_TYPE_UNSUPPORTED: a part is not what an image is made of.
    """
    if manifest.config.media_type not in mediatype.CONFIGS:
        raise errors.Unsupported(
            f"the configuration is of type {manifest.config.media_type[:200]!r}: this is an artifact, not an image",
            reason="MEDIA_TYPE_UNSUPPORTED",
        )
    for layer in manifest.layers:
        if mediatype.layer_compression(layer.media_type) is None:
            raise errors.Unsupported(
                f"layer {layer.digest.short} is of type {layer.media_type[:200]!r}, which cannot be unpacked",
                reason="MEDIA_TYPE_UNSUPPORTED",
            )
    if len(manifest.layers) != len(config.diff_ids):
        raise errors.Invalid(
            f"the manifest lists {len(manifest.layers)} layers, the configuration {len(config.diff_ids)}",
            reason="IMAGE_INVALID",
        )
