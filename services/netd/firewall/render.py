"""What nftables is told: tables and deltas as the text of one transaction.

One command a line, none of the nested form: that is parsed differently by the versions of nftables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from services.netd.firewall.delta import Delta
from services.netd.firewall.table import Atoms, Chain, Lookup, Table

_HARMLESS = re.compile(r"[a-zA-Z0-9_./ -]+")


def render_table(table: Table) -> str:
    """Return the script that makes the table as it is wanted, whatever there was before."""
    where = f"{table.family} {table.name}"
    lines = [f"add table {where}", f"delete table {where}", f"add table {where}"]
    lines += [_declare_lookup(where, lookup) for lookup in table.lookups]
    lines += [_declare_chain(where, chain) for chain in table.chains]
    for chain in table.chains:
        lines += _rules(where, chain)
    for lookup in table.lookups:
        lines += _add_elements(where, lookup, lookup.elements)
    return _script(lines)


def render_delta(delta: Delta) -> str:
    """Return the script that performs a delta.

    The order is that of references: what is pointed to exists before, and goes after, what points to it.
    """
    where = f"{delta.family} {delta.table}"
    lines = [_declare_lookup(where, lookup) for lookup in delta.new_lookups]
    lines += [_declare_chain(where, chain) for chain in delta.new_chains]
    lines += [f"flush chain {where} {chain.name}" for chain in delta.changed_chains]
    for chain in (*delta.new_chains, *delta.changed_chains):
        lines += _rules(where, chain)
    for name, (lookup, keys) in delta.removed_elements.items():
        lines.append(
            f"delete element {where} {name} {{ {', '.join(_join(key, lookup.key) for key in keys)} }}"
        )
    for lookup, elements in delta.added_elements.values():
        lines += _add_elements(where, lookup, elements)
    lines += [f"flush chain {where} {name}" for name in delta.removed_chains]
    lines += [f"delete chain {where} {name}" for name in delta.removed_chains]
    lines += [f"delete {_noun(lookup)} {where} {lookup.name}" for lookup in delta.removed_lookups]
    return _script(lines)


def _noun(lookup: Lookup) -> str:
    return "map" if lookup.value else "set"


def _declare_lookup(where: str, lookup: Lookup) -> str:
    kind = " . ".join(lookup.key)
    if lookup.value:
        kind += " : " + " . ".join(lookup.value)
    flags = " flags interval;" if lookup.interval else ""
    return f"add {_noun(lookup)} {where} {lookup.name} {{ type {kind};{flags} }}"


def _declare_chain(where: str, chain: Chain) -> str:
    if chain.hook is None:
        return f"add chain {where} {chain.name}"
    hook = chain.hook
    return (
        f"add chain {where} {chain.name} "
        f"{{ type {hook.kind} hook {hook.hook} priority {hook.priority}; policy accept; }}"
    )


def _rules(where: str, chain: Chain) -> Iterator[str]:
    for rule in chain.rules:
        yield f'add rule {where} {chain.name} {rule.text} comment "{rule.identity}"'


def _add_elements(where: str, lookup: Lookup, elements: Mapping[Atoms, Atoms]) -> list[str]:
    if not elements:
        return []
    rendered = [
        _join(key, lookup.key) + (f" : {_join(value, lookup.value)}" if value else "")
        for key, value in sorted(elements.items())
    ]
    return [f"add element {where} {lookup.name} {{ {', '.join(rendered)} }}"]


def _join(atoms: Atoms, kinds: Atoms) -> str:
    assert len(atoms) == len(kinds), f"{atoms} is not of the type {kinds}"
    # Names of links come from users. The model takes none that would need care here; this is the second lock.
    assert all(map(_HARMLESS.fullmatch, atoms)), f"{atoms} cannot be said to nftables"
    return " . ".join(
        f'"{atom}"' if kind == "ifname" else atom for atom, kind in zip(atoms, kinds, strict=True)
    )


def _script(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
