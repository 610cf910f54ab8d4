"""Create a self-signed certificate for a server on this machine."""

import subprocess
from pathlib import Path

from tests.deploy.programs import require


def make_certificate(directory: Path) -> Path:
    """Create a PEM file with a certificate and its key, and return its path.

    The file is also the CA file with which clients verify the server.
    """
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = [require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with certificate.open("a") as file:
        file.write(key.read_text())
    return certificate
