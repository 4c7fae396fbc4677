"""A temporary CA and a server certificate signed by it, made with the openssl command."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    ca: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make(folder: Path, name: str = "IP:127.0.0.1") -> Certificates:
    """Create them in `folder` for the server `name` (a subjectAltName)."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    certificate, key = folder / "server.pem", folder / "server.key"
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    _openssl(
        *new, "-keyout", ca_key, "-out", ca, "-subj", "/CN=throw-away CA",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    _openssl(
        *new, "-keyout", key, "-out", certificate, "-subj", "/CN=marathon",
        "-CA", ca, "-CAkey", ca_key, "-addext", f"subjectAltName={name}",
        "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip
    return Certificates(ca, certificate, key)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
