"""References: Docker's normalisation, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imaged.model import reference as references
from services.kit import errors

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("web", "docker.io/library/web", "web"),
        ("web:1", "docker.io/library/web:1", "web:1"),
        ("library/web", "docker.io/library/web", "web"),
        ("team/web:1", "docker.io/team/web:1", "team/web:1"),
        ("docker.io/web", "docker.io/library/web", "web"),
        ("index.docker.io/web", "docker.io/library/web", "web"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/web", "localhost/web", "localhost/web"),
        ("localhost:5000/web:1", "localhost:5000/web:1", "localhost:5000/web:1"),
        ("registry.example/a/b/c", "registry.example/a/b/c", "registry.example/a/b/c"),
        ("[::1]:5000/web", "[::1]:5000/web", "[::1]:5000/web"),
        ("Host/web", "Host/web", "Host/web"),
        (f"web@{DIGEST}", f"docker.io/library/web@{DIGEST}", f"web@{DIGEST}"),
        (f"web:1@{DIGEST}", f"docker.io/library/web:1@{DIGEST}", f"web:1@{DIGEST}"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e", "a__b/c--d.e"),
    ],
)
def test_names_are_normalised(text: str, canonical: str, familiar: str) -> None:
    reference = references.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar
    assert references.parse(canonical) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "Web",
        "web:",
        "web:-1",
        "web:" + "x" * 129,
        "a" * 256,
        "web@",
        "web@sha256:12",
        "web@sha512:" + "a" * 128,
        "-web",
        "web//x",
        "a/../b",
        "/web",
        "web/",
        "we b",
        "ho_st.x/web",
        "web\n",
        "ab" * 32,
        "http://host/web",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid):
        references.parse(text)


def test_the_message_for_upper_case_says_so() -> None:
    with pytest.raises(errors.Invalid, match="lower case"):
        references.parse("MyImage")


def test_a_tag_is_added_only_where_nothing_says_which_image() -> None:
    assert references.parse("web").with_default_tag().familiar == "web:latest"
    assert references.parse("web:1").with_default_tag().familiar == "web:1"
    assert references.parse(f"web@{DIGEST}").with_default_tag().familiar == f"web@{DIGEST}"


@given(st.text(max_size=80))
def test_parsing_is_total_and_rendering_reads_back(text: str) -> None:
    try:
        reference = references.parse(text)
    except errors.Invalid:
        return
    assert references.parse(str(reference)) == reference
    assert references.parse(reference.familiar) == reference
