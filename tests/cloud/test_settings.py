"""What an operator chooses: on the command line, in the environment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearhand.errors import UsageError
from nearhand_cloud.__main__ import main
from nearhand_cloud.settings import Settings, read_settings

KEY = ["--write-key", "first-key,second-key"]


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    environment = {
        "NEARHAND_CLOUD_PORT": "1",
        "NEARHAND_CLOUD_DATA": str(tmp_path),
        "NEARHAND_CLOUD_SERVER_KEY": "the-key-of-the-backend",
        "NEARHAND_CLOUD_KAFKA_OPTION": "security.protocol=SASL_SSL, sasl.username=a=b",
        "PORT": "3",
    }
    settings = read_settings([*KEY, "--port", "2", "--rate", "0.5"], environment)
    assert settings == Settings(
        write_keys=("first-key", "second-key"),
        server_key="the-key-of-the-backend",
        data=tmp_path,
        port=2,
        rate=0.5,
        kafka_options=(("security.protocol", "SASL_SSL"), ("sasl.username", "a=b")),
    )
    assert "first-key" not in repr(settings)
    assert "the-key" not in repr(settings)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ([], "--write-key"),
        (["--write-key", "short"], "--write-key"),
        (["--write-key", "with:a colon in it"], "--write-key"),
        (KEY, "--data"),
        ([*KEY, "--data", ".", "--server-key", "short"], "--server-key"),
        (["--write-key", "0123456789abcdef", "--data", ".", "--server-key", "0123456789abcdef"], "--server-key"),
        ([*KEY, "--data", ".", "--sink", "files"], "--sink"),
        ([*KEY, "--data", ".", "--sink", "kafka"], "--kafka"),
        ([*KEY, "--data", ".", "--dedup", "redis", "--redis", "redis://x"], "--dedup"),
        ([*KEY, "--sink", "kafka", "--kafka", "x:1", "--dedup", "redis"], "--redis"),
        ([*KEY, "--sink", "kafka", "--kafka", "x:1"], "--data"),
        ([*KEY, "--data", ".", "--port", "70000"], "--port"),
        ([*KEY, "--data", ".", "--files", "no-such-folder"], "--files"),
        ([*KEY, "--data", ".", "--kafka-option", "novalue"], "--kafka-option"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60],
)
def test_what_is_refused(arguments: list[str], place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as raised:
        read_settings(arguments, {})
    assert raised.value.place == place
    assert raised.value.remedy
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"nearhand-cloud: {place}: ")
    assert said.count("\n") == 1
    assert not any(key in said for key in ("first-key", "0123456789abcdef", "colon in it"))


def test_the_environment_names_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="NEARHAND_CLOUD_PORT: 'many' is no number"):
        read_settings(KEY, {"NEARHAND_CLOUD_PORT": "many"})


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    said = capsys.readouterr().out
    for name in Settings.__dataclass_fields__:
        option = {"write_keys": "write-key", "kafka_options": "kafka-option"}.get(name, name.replace("_", "-"))
        assert f"--{option} " in said
