"""What `nft -j list table` says, as the value that a wanted table is compared with. Total: no listing fails.

What cannot be understood was not made by us; it is kept in a form that equals nothing wanted, and so is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from services.netd.firewall.table import FOREIGN, Atoms, Hook, Lookup, Seen, SeenChain


def parse(listing: Mapping[str, Any]) -> Seen:
    """Return the table of a listing."""
    lookups: dict[str, Lookup] = {}
    hooks: dict[str, Hook | None] = {}
    rules: dict[str, list[str]] = {}
    for entry in listing.get("nftables", []):
        for kind, body in entry.items():
            if kind in {"set", "map"}:
                lookup = _lookup(body)
                lookups[lookup.name] = lookup
            elif kind == "chain":
                hooks[body["name"]] = _hook(body)
                rules.setdefault(body["name"], [])
            elif kind == "rule":
                rules.setdefault(body["chain"], []).append(body.get("comment", FOREIGN))
    return Seen(
        lookups=lookups,
        chains={name: SeenChain(hook=hooks.get(name), rules=tuple(found)) for name, found in rules.items()},
    )


def forward_drops(listing: Mapping[str, Any], own_table: str) -> list[str]:
    """Return the chains of others that drop what is forwarded by default; a table of ours cannot overrule them."""
    chains = [entry["chain"] for entry in listing.get("nftables", []) if "chain" in entry]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["family"] in {"ip", "inet"}
        and chain["table"] != own_table
    ]


def _hook(body: Mapping[str, Any]) -> Hook | None:
    if "hook" not in body:
        return None
    # A policy other than ours shows as another kind of hook.
    kind = str(body.get("type")) if body.get("policy", "accept") == "accept" else FOREIGN
    return Hook(kind=kind, hook=str(body["hook"]), priority=int(body.get("prio", 0)))


def _lookup(body: Mapping[str, Any]) -> Lookup:
    kind = body.get("type", FOREIGN)
    value = str(body["map"]).split(" . ") if "map" in body else []
    elements: dict[Atoms, Atoms] = {}
    for element in body.get("elem", []):
        match element:
            case [key, data] if value:
                elements[_atoms(key)] = _atoms(data)
            case _:
                elements[_atoms(element)] = ()
    return Lookup(
        name=str(body["name"]),
        key=tuple(str(part) for part in kind) if isinstance(kind, list) else (str(kind),),
        value=tuple(value),
        interval="interval" in body.get("flags", []),
        elements=elements,
    )


def _atoms(element: Any) -> Atoms:
    if isinstance(element, dict) and isinstance(element.get("concat"), list):
        return tuple(_atom(part) for part in element["concat"])
    return (_atom(element),)


def _atom(part: Any) -> str:
    match part:
        case str() | int():
            return str(part)
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case _:
            return f"{FOREIGN} {json.dumps(part, sort_keys=True)}"
