"""python -m service {serve,publish,consume,doctor,demo}; where it is installed, `dinrank-service` is the same."""


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: always, with the command's code; with what to install when the service's extra is not.
    """
    try:
        from dinrank.service.cli import app

        app()
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "dinrank":
            raise
        raise SystemExit(f"error: the service needs {exc.name}: pip install 'dinrank[service]'") from exc


if __name__ == "__main__":
    main()
