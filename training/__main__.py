"""python -m training {fetch,prepare,train,table,sign,compare,replay}.

Where it is installed, `dinrank-training` is the same.
"""


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: always, with the command's code; with what to install when the trainer's extra is not.
    """
    try:
        from training.cli import main as run_command
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] in ("model", "training"):
            raise
        raise SystemExit(f"error: the trainer needs {exc.name}: pip install 'dinrank[training]'") from exc
    run_command()


if __name__ == "__main__":
    main()
