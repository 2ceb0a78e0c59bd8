"""What imaged tells of images, in docker's words."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from services.kit import errors
from services.kit.events import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from services.imaged.images.documents import Documents
    from services.imaged.model.digest import Digest
    from services.imaged.model.reference import Reference
    from services.kit.events import History, Live, Selection
    from services.kit.seams import Clock
    from services.kit.watch import Resync

TYPE = "image"


class Action(StrEnum):
    """What happens to an image."""

    DELETE = "delete"
    IMPORT = "import"
    LOAD = "load"
    PRUNE = "prune"
    PULL = "pull"
    SAVE = "save"
    TAG = "tag"
    UNTAG = "untag"


class ImageEvents:
    """Puts what was done into events, and gives them to who asks.

    Args:
        history: Keeps them.
        documents: Have the labels of images.
        clock: When they happen.
    """

    def __init__(self, history: History, documents: Documents, clock: Clock) -> None:
        self._history = history
        self._documents = documents
        self._clock = clock

    def tell(self, action: Action, image_id: Digest, name: str = "") -> None:
        """Tell of an image; as in docker its name is the id, unless the event is about another."""
        self._send(action, str(image_id), {**self._labels(image_id), "name": name or str(image_id)})

    def pulled(self, image_id: Digest, reference: Reference) -> None:
        """Tell of a pull: docker has the name that was pulled in place of the id."""
        named = {**self._labels(image_id), "name": reference.familiar_name}
        self._send(Action.PULL, reference.familiar, named)

    def deleted(self, image_id: Digest) -> None:
        """Tell that an image is gone, and its labels with it."""
        self._send(Action.DELETE, str(image_id), {"name": str(image_id)})

    def pruned(self, freed_bytes: int) -> None:
        """Tell that all were removed which nobody used."""
        self._send(Action.PRUNE, "", {"reclaimed": str(freed_bytes)})

    def watch(self, selection: Selection) -> AsyncGenerator[Event | Live | Resync, None]:
        """Return the past that is wanted, then what happens; see `History.watch`."""
        return self._history.watch(selection, self._clock)

    def _labels(self, image_id: Digest) -> Mapping[str, str]:
        try:
            return self._documents.config(image_id).run.labels
        except errors.BeeyardError:
            return {}  # collected meanwhile, or damaged: what was done is told all the same

    def _send(self, action: Action, object_id: str, attributes: Mapping[str, str]) -> None:
        self._history.publish(
            Event(at=self._clock.now(), type=TYPE, action=action.value, id=object_id, attributes=attributes)
        )
