"""python -m service {serve,publish}"""

from service.cli import app

if __name__ == "__main__":
    app()
