"""The smallest change from a table as the kernel shows it to the one that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.netd.firewall.table import Atoms, Chain, Lookup, Seen, Table, is_foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A change of an existing table: one transaction.

    Packets meet either the old table or the new one. Established connections do not notice either way, but a packet
    of a *new* connection that is on its way meanwhile may miss what is replaced, so nothing is that need not be.
    """

    family: str
    table: str
    new_lookups: tuple[Lookup, ...] = ()
    new_chains: tuple[Chain, ...] = ()
    changed_chains: tuple[Chain, ...] = ()
    removed_elements: Mapping[str, tuple[Lookup, tuple[Atoms, ...]]] = field(default_factory=dict)
    added_elements: Mapping[str, tuple[Lookup, Mapping[Atoms, Atoms]]] = field(default_factory=dict)
    removed_chains: tuple[str, ...] = ()
    removed_lookups: tuple[Lookup, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return not (
            self.new_lookups
            or self.new_chains
            or self.changed_chains
            or self.removed_elements
            or self.added_elements
            or self.removed_chains
            or self.removed_lookups
        )


def plan(seen: Seen | None, table: Table) -> Delta | Table:
    """Return how to come from `seen` to `table`: a delta, or the table itself where it must be made anew.

    It must if there is none, if a set, map or hook of the same name is of another kind than wanted, and if an element
    is there that has no name here, so that it could not be removed.
    """
    if seen is None:
        return table
    if seen is table.seen:
        return Delta(family=table.family, table=table.name)
    chains = {chain.name: chain for chain in table.chains}
    lookups = {lookup.name: lookup for lookup in table.lookups}
    wanted = table.seen
    for name, chain in wanted.chains.items():
        if name in seen.chains and seen.chains[name].hook != chain.hook:
            return table
    for name, lookup in lookups.items():
        if name in seen.lookups and not _changeable(seen.lookups[name], lookup):
            return table
    removed, added = _element_changes(seen.lookups, lookups)
    return Delta(
        family=table.family,
        table=table.name,
        new_lookups=tuple(lookup for name, lookup in lookups.items() if name not in seen.lookups),
        new_chains=tuple(chain for name, chain in chains.items() if name not in seen.chains),
        changed_chains=tuple(
            chain
            for name, chain in chains.items()
            if name in seen.chains and seen.chains[name].rules != wanted.chains[name].rules
        ),
        removed_elements=removed,
        added_elements=added,
        removed_chains=tuple(sorted(seen.chains.keys() - chains.keys())),
        removed_lookups=tuple(lookup for name, lookup in sorted(seen.lookups.items()) if name not in lookups),
    )


def _changeable(seen: Lookup, wanted: Lookup) -> bool:
    if (seen.key, seen.value, seen.interval) != (wanted.key, wanted.value, wanted.interval):
        return False
    return all(len(key) == len(wanted.key) and not any(map(is_foreign, key)) for key in seen.elements)


def _element_changes(
    seen: Mapping[str, Lookup], wanted: Mapping[str, Lookup]
) -> tuple[dict[str, tuple[Lookup, tuple[Atoms, ...]]], dict[str, tuple[Lookup, Mapping[Atoms, Atoms]]]]:
    removed: dict[str, tuple[Lookup, tuple[Atoms, ...]]] = {}
    added: dict[str, tuple[Lookup, Mapping[Atoms, Atoms]]] = {}
    for name, lookup in wanted.items():
        before = seen[name].elements if name in seen else {}
        gone = tuple(sorted(key for key, value in before.items() if lookup.elements.get(key) != value))
        new = {key: value for key, value in sorted(lookup.elements.items()) if before.get(key) != value}
        if gone:
            removed[name] = (lookup, gone)
        if new:
            added[name] = (lookup, new)
    return removed, added
