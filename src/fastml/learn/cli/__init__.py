"""The command line: `fastml`, or `python -m fastml`. Each command is a file; what it shows is computed elsewhere.

With `--json` a command prints what it found for another program to read, and nothing else.
"""

import typer

from fastml.learn.cli import assembly, counters, exercises, info, ladder, report, roofline, versus

app = typer.Typer(
    name="fastml",
    help="CPU kernels behind machine learning's everyday operations: measure them, learn from them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(info.info)
app.command()(roofline.roofline)
app.command()(ladder.ladder)
app.command()(counters.counters)
app.command()(assembly.assembly)
app.command()(versus.versus)
app.command()(report.report)
app.add_typer(exercises.app)
