"""The command line: verbs, no logic."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from raydc.errors import INTERRUPTED, ConfigError, RaydcError

app = typer.Typer(
    name="raydc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[str, typer.Argument(help="A run's YAML, or the folder of a run.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value: synthesize.steps=500")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dataset = Annotated[str, typer.Argument(help="URL of a condensed data set.")]

YAML = (".yaml", ".yml")


def _config(target: str, overrides: list[str] | None) -> Any:
    """The run that a YAML file or a run folder describes, as it runs."""
    from raydc.engine.adoption import resolved

    found = _said(target, overrides)
    return resolved(found) if target.endswith(YAML) else found  # that of a folder has run


def _said(target: str, overrides: list[str] | None) -> Any:
    """The same as it is written."""
    from raydc.config import load
    from raydc.config.load import override
    from raydc.engine.run import read_run

    if target.endswith(YAML):
        return load(target, overrides)
    run = read_run(target)
    return override(run.config.model_copy(update={"output": run.url}), overrides or [])


def _go(target: str, overrides: list[str] | None, stages: tuple[str, ...] | None, as_json: bool = False) -> None:
    from raydc.engine.inspection import check_networks
    from raydc.engine.session import go

    config = _config(target, overrides)
    check_networks(config)  # a student's network is built last, after hours of work
    go(config, stages, as_json)


def _version(asked: bool) -> None:
    if asked:
        from raydc import __version__

        typer.echo(f"raydc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Condense an image data set into a few images a class plus soft labels, on Ray."""


USAGE: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What bad usage raises: click's class, or that of the copy of click that newer typers carry."""


@app.command()
def run(config: Config, set_: Set = None) -> None:
    """Do every stage that is not yet done, and show the result."""
    _go(config, set_, None)


def _stage(name: str, text: str) -> None:
    def verb(config: Config, set_: Set = None) -> None:
        _go(config, set_, (name,))

    verb.__doc__ = text
    app.command(name)(verb)


_stage("squeeze", "Train or fetch the teachers.")
_stage("synthesize", "Make the images; teachers must be there.")
_stage("pack", "Pack the images into shards and publish the data set.")
_stage("relabel", "Add soft labels to the data set.")


@app.command()
def evaluate(
    config: Config,
    set_: Set = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="URL", help="Judge this set, of whatever making, in a folder of its own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train students on the data set and its controls, and test them."""
    if dataset is None:
        return _go(config, set_, ("evaluate",), as_json)
    from raydc.engine.adoption import beside, resolved
    from raydc.engine.inspection import check_networks
    from raydc.engine.session import go

    found = _said(config, [f"adopt.url={dataset}", *(set_ or [])])
    output = found.output if any(text.startswith("output=") for text in set_ or []) else None
    found = resolved(beside(found, output))
    check_networks(found)
    go(found, None, as_json)


_stage("report", "Write the report page from what is there.")


@app.command()
def check(config: Config, set_: Set = None) -> None:
    """Say whether a config is sound: every mistake at once, nothing started."""
    from raydc.engine.inspection import check_networks

    found = _config(config, set_)
    check_networks(found)
    typer.echo(f"{config}: sound. {found.method.name} on {found.data.name}, output {found.folder}")


@app.command()
def show(config: Config, set_: Set = None) -> None:
    """Print a config as it is after `extends` and overrides."""
    from raydc.config import dump

    typer.echo(dump(_config(config, set_)), nl=False)


@app.command()
def plan(
    config: Config,
    set_: Set = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Devices at work.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Image-steps a second of one device.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of a device-hour.")] = None,
    fleet: Annotated[
        list[str] | None,
        typer.Option(metavar="COUNT:RATE[:PRICE]", help="Devices of one kind; repeat it for several kinds."),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure a few steps of everything on this machine, and predict.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count blocks, operations, bytes, hours and money before anything is spent."""
    from raydc.engine.inspection import planned
    from raydc.plan.fleet import stated
    from raydc.report.planned import show_plan

    found, measured = _config(config, set_), None
    stated(fleet or [], gpus, rate, price)  # a slip of the pen must not be told after a minute of measuring
    if calibrate:
        from raydc.engine.calibration.calibrate import calibrate as measure

        typer.echo("measuring a few steps of everything here; nothing is fetched or kept", err=True)
        measured = measure(found)
    made = planned(found, stated(fleet or [], gpus, rate, price, measured.devices if measured else None), measured)
    show_plan(made, measured, as_json)


@app.command()
def status(run: Annotated[str, typer.Argument(help="The folder of a run.")], as_json: Json = False) -> None:
    """Say how far a run is, from any machine that can read its folder."""
    from raydc.report.describe import describe
    from raydc.report.status import read_status
    from raydc.store.folder import Folder

    found = read_status(Folder(run))
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else "\n".join(describe(found)))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Folders of runs that are done.")],
    output: Annotated[str, typer.Option(help="URL of the folder for the page and its pictures.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Put runs side by side: one table, one plot, one row of pictures a run."""
    from raydc.engine.comparison import gather
    from raydc.report.comparison import as_markdown, write_comparison
    from raydc.report.console import show_comparison
    from raydc.store.folder import Folder

    found = gather(runs)
    write_comparison(Folder(output), found)
    if markdown:
        typer.echo(as_markdown(found), nl=False)
    else:
        show_comparison(found, output)


@app.command()
def trace(run: Annotated[str, typer.Argument(help="The folder of a run.")]) -> None:
    """Print who worked when as JSON that chrome://tracing and ui.perfetto.dev open."""
    from raydc.engine.run import read_run
    from raydc.report.events import read_events
    from raydc.report.timings import chrome_trace

    typer.echo(json.dumps(chrome_trace(read_events(read_run(run).folder))))


@app.command()
def ls(
    what: Annotated[str, typer.Argument(help="methods, protocols, or an axis: initializers, augmentations, ...")],
    folder: Annotated[Path | None, typer.Option(help="Where their files lie; absent: below configs.")] = None,
) -> None:
    """List the points and axes of the design space."""
    from raydc.engine.listing import listing

    typer.echo(listing(what, folder))


@app.command()
def inspect(dataset: Dataset, as_json: Json = False) -> None:
    """Say what a data set holds."""
    from raydc.report.console import print_mapping
    from raydc.store.folder import Folder
    from raydc.store.verify import inspect as look

    print_mapping(look(Folder(dataset)), as_json)


@app.command()
def export(
    dataset: Dataset,
    output: Annotated[str, typer.Argument(help="URL of a folder that is not there yet, or empty.")],
    form: Annotated[str, typer.Option(help="folders, webdataset or huggingface.")],
    licence: Annotated[
        str | None, typer.Option("--license", help="Of the images, for the card: cc-by-4.0, other, ...")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="webdataset: a label set whose shards go with the images.")] = None,
) -> None:
    """Write a data set as class folders, plain WebDataset or a Hugging Face data set."""
    from raydc.store.export import export as write
    from raydc.store.folder import Folder

    count = write(Folder(dataset), Folder(output), form, licence, labels, lambda text: typer.echo(text, err=True))
    typer.echo(f"{output}: {f'{count} images' if count else 'there already'}, form {form}")


@app.command()
def verify(dataset: Dataset) -> None:
    """Hash every file of a data set again and compare with its manifest."""
    from raydc.errors import DataError
    from raydc.store.folder import Folder
    from raydc.store.verify import verify as check_all

    problems = check_all(Folder(dataset))
    if problems:
        head = f"{dataset}: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise DataError("\n  ".join([head, *problems]))
    typer.echo(f"{dataset}: whole, every file has the bytes of the manifest")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code; errors of ours print one message and no traceback."""
    sys.exit(_guarded(lambda: app(args=arguments, standalone_mode=False)))


def _guarded(call: Callable[[], Any]) -> int:
    try:
        if call() == INTERRUPTED:  # typer returns an exit code where a KeyboardInterrupt was raised
            raise KeyboardInterrupt
        return 0
    except RaydcError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        return error.exit_code
    except USAGE as error:
        error.show()  # type: ignore[attr-defined]
        return ConfigError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.secho("interrupted; the same command goes on where this one stopped", fg="yellow", err=True)
        return INTERRUPTED


if __name__ == "__main__":
    main()
