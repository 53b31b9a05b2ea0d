import pytest
import typer

from damo_yolo.cli.console import run_app
from damo_yolo.errors import ConfigError

app = typer.Typer()


@app.command()
def work(how: str) -> None:
    if how == "interrupted":
        raise KeyboardInterrupt
    if how == "wrong":
        raise ConfigError("the lamp is off", fix="switch it on")
    raise typer.Exit(3)


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        ("interrupted", 130, "interrupted: run the same command again to go on\n"),
        ("wrong", 2, "error: the lamp is off\n  fix: switch it on\n"),
        ("otherwise", 3, ""),
    ],
)
def test_every_end_has_its_status_and_its_sentence(
    how: str, status: int, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_app(lambda: app([how]))

    assert caught.value.code == status
    assert capfd.readouterr().err == told
