"""`dinrank-training`, the same as python -m training."""


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: always, with the command's code; with what to install when the trainer's extra is not.
    """
    try:
        from training.__main__ import main as run_command
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] in ("model", "training"):
            raise
        raise SystemExit(f"error: the trainer needs {exc.name}: pip install 'dinrank[training]'") from exc
    run_command()
