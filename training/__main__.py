"""python -m training {fetch,prepare,train,table,sign,compare,replay}.

Where it is installed, `dinrank-training` is the same.
"""


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: always, with the command's code; with what to install when the trainer's extra is not.
    """
    try:
        from dinrank.training.cli import main as run_command

        run_command()
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "dinrank":
            raise
        raise SystemExit(f"error: the trainer needs {exc.name}: pip install 'dinrank[training]'") from exc


if __name__ == "__main__":
    main()
