"""Certificates and keys that the configuration names are tried when it is loaded."""

import subprocess
from pathlib import Path

import pytest

from proxy.config import Config, Finding, load
from tests.harness.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.directory.joinpath("text.pem").write_text("not PEM\n")
    made.directory.joinpath("folder.pem").mkdir()
    return made


def outcome(certificates: Certificates, text: str) -> tuple[Config | None, list[Finding]]:
    file = certificates.directory / "routes.yaml"
    file.write_text(text)
    loaded = load(file, {})
    return loaded.config, [each for each in loaded.findings if each.severity == "error"]


def with_listener(tls: str) -> str:
    return f"backends: {{legacy: 'http://a:1', new: 'http://b:1'}}\ntls: {tls}\nroutes: {{}}\n"


def with_backend(tls: str) -> str:
    new = f"{{url: 'https://b:1', tls: {tls}}}"
    return f"backends: {{legacy: 'http://a:1', new: {new}}}\nroutes: {{}}\n"


def test_files_that_fit_are_absolute_in_the_values(certificates: Certificates) -> None:
    config, errors = outcome(
        certificates, with_listener("{cert: localhost.pem, key: localhost.key}")
    )
    assert errors == []
    assert config is not None
    assert config.tls is not None
    assert Path(config.tls.cert) == certificates.directory / "localhost.pem"
    config, errors = outcome(
        certificates, with_backend("{ca: ca.pem, cert: client.pem, key: ./client.key}")
    )
    assert errors == []
    assert config is not None
    tls = config.backends["new"].tls
    assert tls is not None
    assert (tls.ca, tls.key, tls.verify) == (
        certificates.path("ca.pem"),
        certificates.path("client.key"),
        True,
    )


@pytest.mark.parametrize(
    ("text", "key_path", "words"),
    [
        (with_listener("{cert: gone.pem, key: localhost.key}"), "tls", "gone.pem is not a file"),
        (with_listener("{cert: localhost.pem, key: gone.key}"), "tls", "gone.key is not a file"),
        (with_listener("{cert: folder.pem, key: ca.key}"), "tls", "folder.pem is not a file"),
        (with_listener("{cert: localhost.pem, key: client.key}"), "tls", "belong together"),
        (with_listener("{cert: text.pem, key: localhost.key}"), "tls", "cannot be used"),
        (with_backend("{ca: gone.pem}"), "backends.new.tls.ca", "is not a file"),
        (with_backend("{ca: text.pem}"), "backends.new.tls.ca", "holds no certificates"),
        (with_backend("{cert: client.pem}"), "backends.new.tls.cert", "cannot be used"),
        (with_backend("{key: client.key}"), "backends.new.tls.key", "set cert as well"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(
    certificates: Certificates, text: str, key_path: str, words: str
) -> None:
    config, errors = outcome(certificates, text)
    assert config is None
    assert [(each.code, each.key_path) for each in errors] == [("BAD_FILE", key_path)]
    assert words in errors[0].text


def test_an_encrypted_key_is_refused_and_asks_for_nothing(certificates: Certificates) -> None:
    lock = "openssl ec -in client.key -aes256 -passout pass:secret -out locked.key"
    subprocess.run(lock.split(), cwd=certificates.directory, capture_output=True, check=True)
    _, errors = outcome(certificates, with_listener("{cert: client.pem, key: locked.key}"))
    assert [each.code for each in errors] == ["BAD_FILE"]


def test_the_digest_does_not_depend_on_where_the_directory_is(
    certificates: Certificates, tmp_path: Path
) -> None:
    text = with_backend("{ca: ca.pem}").replace("routes: {}", "routes: {/a: 1%}")
    here, _ = outcome(certificates, text)
    tmp_path.joinpath("ca.pem").write_bytes(Path(certificates.path("ca.pem")).read_bytes())
    tmp_path.joinpath("routes.yaml").write_text(text)
    there = load(tmp_path / "routes.yaml", {}).config
    assert here is not None
    assert there is not None
    assert here.routes[0].digest == there.routes[0].digest
