"""``python -m gateway`` is ``waybill``."""

from gateway.cli import main

if __name__ == "__main__":
    main()
