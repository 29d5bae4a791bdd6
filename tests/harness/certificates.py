"""Certificates for TLS tests, made with the openssl command: a CA, a server, a client."""

import ssl
import subprocess
from pathlib import Path


class Certificates:
    """Files in a directory: `ca.pem`, and a certificate and key per name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
            " -subj /CN=banyan-test-ca -keyout ca.key -out ca.pem"
        )
        self._issue("localhost", "DNS:localhost,IP:127.0.0.1")
        self._issue("elsewhere", "DNS:elsewhere.example")
        self._issue("client", "DNS:client.example")

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def server_context(self, name: str = "localhost", client_ca: bool = False) -> ssl.SSLContext:
        """A server's context; with `client_ca` it asks for a client certificate of our CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path("ca.pem"))
        return context

    def worker_arguments(self) -> tuple[str, ...]:
        """What makes a worker speak TLS to its clients, as localhost."""
        return ("--tls-cert", self.path("localhost.pem"), "--tls-key", self.path("localhost.key"))

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.path("ca.pem"))

    def _issue(self, name: str, alternative: str) -> None:
        (self.directory / "ext.cnf").write_text(f"subjectAltName={alternative}\n")
        self._openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
            f" -subj /CN={name} -keyout {name}.key -out {name}.csr"
        )
        self._openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
            f" -extfile ext.cnf -out {name}.pem"
        )

    def _openssl(self, arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments.split()],
            cwd=self.directory,
            check=True,
            capture_output=True,
            timeout=30,
        )
