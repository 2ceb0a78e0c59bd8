"""Config files: every mistake names its file, its line and its key."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest

from services.kit import config, errors


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A table of a table."""

    url: str
    insecure: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config(config.DaemonConfig):
    """One field of each kind."""

    runtime: Literal["auto", "crun", "runc"] = "auto"
    retries: int = 3
    timeout_s: float = 1.5
    verify: bool = True
    pools: tuple[str, ...] = ("10.0.0.0/8",)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    mirror: Mirror | None = None
    mirrors: tuple[Mirror, ...] = ()

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise errors.Invalid("'retries' must not be negative", metadata={"key": "retries"})


def load(tmp_path: Path, text: str, **overrides: object) -> Config:
    path = tmp_path / "imaged.toml"
    path.write_text(text)
    return config.load(Config, path, overrides)


def test_no_file_is_all_defaults() -> None:
    assert config.load(Config, None) == Config()
    assert Config().root == Path("/var/lib/beeyard")


def test_every_kind_of_field(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        root = "/srv/beeyard"
        runtime = "crun"
        retries = 5
        timeout_s = 2
        verify = false
        pools = ["10.1.0.0/16", "10.2.0.0/16"]
        labels = { zone = "a" }
        [mirror]
        url = "https://mirror"
        [[mirrors]]
        url = "https://one"
        [[mirrors]]
        url = "https://two"
        insecure = true
        """,
    )
    assert loaded == Config(
        root=Path("/srv/beeyard"),
        runtime="crun",
        retries=5,
        timeout_s=2.0,
        verify=False,
        pools=("10.1.0.0/16", "10.2.0.0/16"),
        labels={"zone": "a"},
        mirror=Mirror(url="https://mirror"),
        mirrors=(Mirror(url="https://one"), Mirror(url="https://two", insecure=True)),
    )
    assert isinstance(loaded.timeout_s, float)


def test_flags_win_over_the_file_and_none_is_not_given(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'root = "/file"\nrun = "/file"\n', root=Path("/flag"), run=None)
    assert (loaded.root, loaded.run) == (Path("/flag"), Path("/file"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('log_level = "info"\n\nrutime = "crun"\n', 3, "unknown key 'rutime', did you mean 'runtime'?"),
        ("# comment\nzzzz = 1\n", 2, "unknown key 'zzzz'; known here: labels, log_format"),
        (
            '[mirror]\nurl = "x"\ninsecur = true\n',
            3,
            "unknown key 'mirror.insecur', did you mean 'mirror.insecure'?",
        ),
        ('\nmirror.url = "x"\nmirror.port = 1\n', 3, "unknown key 'mirror.port'"),
        ("[unknown]\nurl = 1\n", 1, "unknown key 'unknown'"),
        ("retries = '3'\n", 1, "'retries' must be an integer, not '3'"),
        ("retries = true\n", 1, "'retries' must be an integer, not True"),
        ("verify = 1\n", 1, "'verify' must be true or false, not 1"),
        ("timeout_s = 'x'\n", 1, "'timeout_s' must be a number, not 'x'"),
        ("root = 1\n", 1, "'root' must be a path, not 1"),
        ("runtime = 'kata'\n", 1, "'runtime' must be one of 'auto', 'crun', 'runc', not 'kata'"),
        ("pools = 'x'\n", 1, "'pools' must be a list, each item a string, not 'x'"),
        ("\npools = ['x', 1]\n", 2, "'pools' must be a string, not 1"),
        ("labels = 'x'\n", 1, "'labels' must be a table, not 'x'"),
        ("[labels]\na = 1\n", 2, "'labels.a' must be a string, not 1"),
        ("[mirror]\ninsecure = true\n", 1, "key 'mirror.url' is missing"),
        ("\nretries = -1\n", 2, "'retries' must not be negative"),
        ("a = 1\nb = = 2\n", 2, "Invalid value"),
        ("a = 1\na = 2\n", 2, "Cannot overwrite a value"),
        ("a = \n\n", 1, "Invalid value"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        load(tmp_path, text)
    assert caught.value.message.startswith(f"{tmp_path / 'imaged.toml'}:{line}: {message}")
    assert caught.value.reason == "CONFIG_INVALID"


def test_a_mistake_in_a_flag_names_no_file() -> None:
    with pytest.raises(errors.Invalid, match=r"^'retries' must be an integer, not 'x'$"):
        config.load(Config, None, {"retries": "x"})


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match=r"there is no config file .*missing\.toml"):
        config.load(Config, tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "not UTF-8"), (b"#" * (config.FILE_BYTES_MAX + 1), "larger than")],
)
def test_what_is_no_config_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(errors.Invalid, match=message):
        config.load(Config, path)


def test_a_directory_is_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match="cannot read"):
        config.load(Config, tmp_path)


def test_a_required_key_without_a_file() -> None:
    with pytest.raises(errors.Invalid, match=r"^key 'url' is missing$"):
        config.load(Mirror, None)


def test_the_types_are_those_that_can_be_described() -> None:
    hints: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Config)}
    assert len(hints) > 8
