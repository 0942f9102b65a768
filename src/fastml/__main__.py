"""`python -m fastml`, and the command `fastml`."""

import importlib


def main() -> None:
    """Run the command line, or say what it needs.

    Raises SystemExit, with the command's status.
    """
    try:
        app = importlib.import_module("fastml.learn.cli").app
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("typer", "rich", "platformdirs"):
            raise
        raise SystemExit("fastml: the command line needs more packages: pip install 'fastml-kernels[learn]'") from None
    app(prog_name="fastml")


if __name__ == "__main__":
    main()
