"""swarmctl image …, but for what moves images in and out: that is in `image_transfer`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from beeyard.image.v1 import image_pb2 as pb
from cli import api, clock, complete
from cli.command import (
    command,
    filter_option,
    for_each,
    format_option,
    inspect_format_option,
    no_trunc_option,
    parse_filters,
    quiet_option,
    with_session,
)
from cli.errors import render_error
from cli.format import output
from cli.views import image as view
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cli.session import Session

READ_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 600.0
"""Removing much from a disk takes its time."""


def filters(given: Sequence[str]) -> Mapping[str, pb.StringList]:
    """Filters as imaged takes them."""
    return {key: pb.StringList(values=values) for key, values in parse_filters(given).items()}


def pages(session: Session, chosen: Mapping[str, pb.StringList]) -> Iterator[pb.Image]:
    """Read images, page by page."""
    request = pb.ListImagesRequest(filters=chosen)
    while True:
        page = session.call(api.Images.ListImages, request, timeout_s=READ_TIMEOUT_S)
        yield from page.images
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def get(session: Session, reference: str, platform: str = "") -> pb.Image:
    """Read one image.

    Raises:
        errors.NotFound: IMAGE_NOT_FOUND.
    """
    request = pb.GetImageRequest(reference=reference, platform=platform)
    return session.call(api.Images.GetImage, request, timeout_s=READ_TIMEOUT_S).image


@command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show all images (there are no hidden ones)")
@click.option("--digests", is_flag=True, help="Show digests")
@filter_option
@format_option
@no_trunc_option
@quiet_option
@click.argument("repository", metavar="[REPOSITORY[:TAG]]", default="")
@with_session
def ls(session: Session, style: str, repository: str, **given: Any) -> None:
    """List images."""
    chosen = dict(filters(given["filters"]))
    if repository:
        chosen["reference"] = pb.StringList(values=[repository])
    found = pages(session, chosen)
    if given["quiet"] and not style:
        ids = (image.id if given["no_trunc"] else image.id.removeprefix("sha256:")[:12] for image in found)
        output.print_lines(dict.fromkeys(ids))
        return
    now, digests = clock.now(), given["digests"] or ".Digest" in style or style == "json"
    output.print_rows(
        [row for image in found for row in view.rows(image, now, digests=digests, full=given["no_trunc"])],
        style=style,
        default=view.WITH_DIGESTS if given["digests"] else view.DEFAULT,
        headers=view.HEADERS,
    )


@command()
@inspect_format_option
@click.option("--platform", default="", metavar="string", help="Inspect the image for this platform")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete.images)
@with_session
def inspect(session: Session, style: str, platform: str, images: tuple[str, ...]) -> int:
    """Display detailed information on one or more images."""
    found: list[dict[str, Any]] = []

    def look(reference: str) -> None:
        found.append(view.inspect(get(session, reference, platform)))

    code = for_each(images, look)
    output.print_inspect(found, style)
    return code


@command()
@format_option
@click.option("-H", "--human/--no-human", default=True, help="Print sizes and dates for people (true)")
@no_trunc_option
@quiet_option
@click.argument("image", metavar="IMAGE", shell_complete=complete.images)
@with_session
def history(session: Session, style: str, image: str, *, human: bool, no_trunc: bool, quiet: bool) -> None:
    """Show the history of an image."""
    request = pb.GetImageHistoryRequest(reference=image)
    entries = session.call(api.Images.GetImageHistory, request, timeout_s=READ_TIMEOUT_S).entries
    now = clock.now()
    output.print_rows(
        [view.history_row(entry, now, full=no_trunc, human=human) for entry in entries],
        style=style,
        default=view.HISTORY,
        headers=view.HISTORY_HEADERS,
        quiet_field="ID" if quiet else "",
    )


@command()
@click.argument("source", metavar="SOURCE_IMAGE[:TAG]", shell_complete=complete.images)
@click.argument("target", metavar="TARGET_IMAGE[:TAG]")
@with_session
def tag(session: Session, source: str, target: str) -> None:
    """Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE."""
    request = pb.TagImageRequest(source=source, target=target)
    session.call(api.Images.TagImage, request, timeout_s=READ_TIMEOUT_S)


@command()
@click.option("-f", "--force", is_flag=True, help="Force removal of the image")
@click.option("--no-prune", is_flag=True, help="Do not delete untagged parents (there are none)")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete.images)
@with_session
def rm(session: Session, images: tuple[str, ...], *, force: bool, no_prune: bool) -> int:
    """Remove one or more images."""
    del no_prune  # images have no parents here: each keeps its own layers

    def remove(reference: str) -> str:
        request = pb.RemoveImageRequest(reference=reference, force=force)
        try:
            done = session.call(api.Images.RemoveImage, request, timeout_s=WRITE_TIMEOUT_S)
        except errors.NotFound as exc:
            if not force:
                raise
            print(render_error(exc), file=sys.stderr)
            return ""
        lines = [f"Untagged: {name}" for name in done.untagged]
        return "\n".join([*lines, *(f"Deleted: {name}" for name in done.deleted)])

    return for_each(images, remove)


@command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just dangling ones"
)
@click.option("--filter", "given", multiple=True, metavar="filter", help='Provide filters (e.g. "until=1h")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@with_session
def prune(session: Session, given: tuple[str, ...], *, everything: bool, force: bool) -> None:
    """Remove unused images."""
    request = pb.PruneImagesRequest(all=everything, filters=filters(given))
    if not force:
        from cli.prompt import confirm

        what = "images without at least one container associated to them" if everything else "dangling images"
        confirm(f"This will remove all {what}.", "image prune")
    done = session.call(api.Images.PruneImages, request, timeout_s=WRITE_TIMEOUT_S)
    if done.untagged or done.deleted:
        lines = [f"untagged: {name}" for name in done.untagged] + [
            f"deleted: {name}" for name in done.deleted
        ]
        output.print_lines(["Deleted Images:", *lines, ""])
    print(f"Total reclaimed space: {units.render_bytes(done.reclaimed_bytes)}")
