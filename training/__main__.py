"""python -m training {fetch,prepare,train,table,sign,compare,replay}.

The installed command is `dinrank-training`.
"""


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: always, with the command's exit code, or with a hint if the trainer's extra is not installed.
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
