"""python -m service {serve,publish,consume,doctor,demo}; once installed, also as `dinrank-service`."""


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: always, with the command's code; or naming the extra to install if it is missing.
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
