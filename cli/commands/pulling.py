"""Fetching an image, with its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from beeyard.image.v1 import image_pb2 as pb
from cli import api
from cli.transfers import Transfers
from services.kit import errors

if TYPE_CHECKING:
    from cli.session import Session


def pull(session: Session, reference: str, *, platform: str, quiet: bool, stream: TextIO) -> pb.PullDone:
    """Make an image present, looking for a newer one first.

    Raises:
        errors.BeeyardError: No source has it; the message names those that were asked.
    """
    request = pb.PullRequest(reference=reference, platform=platform, policy=pb.PULL_POLICY_ALWAYS)
    shown = Transfers(stream, quiet=quiet)
    done: pb.PullDone | None = None
    try:
        for response in session.start(api.Images.Pull, request):
            if response.WhichOneof("event") == "progress":
                shown.update(response.progress)
            else:
                done = response.done
    finally:
        shown.finish()
    if done is None:
        raise errors.Internal(f"the pull of {reference} ended without a result", reason="STREAM_CUT")
    if not quiet:
        if done.manifest_digest:
            print(f"Digest: {done.manifest_digest}", file=stream)
        what = "Downloaded newer image for" if done.fetched else "Image is up to date for"
        print(f"Status: {what} {done.reference}", file=stream)
    return done
