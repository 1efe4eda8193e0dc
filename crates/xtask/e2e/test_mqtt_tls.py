"""Brokers behind TLS."""

import pytest
from broker import Client, Mosquitto, framed
from camwire import run, wait_until


@pytest.fixture
def authority(tmp_path):
    """An authority that signs certificates: paths of its own, and a function that makes others."""

    def openssl(*args):
        done = run("openssl", *args)
        assert done.returncode == 0, done.stderr

    ca = tmp_path / "ca.pem"
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"),
        *("-keyout", tmp_path / "ca.key", "-out", ca),
    )

    def sign(name):
        key, request, certificate = (tmp_path / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", key, "-out", request),
        )
        names = tmp_path / f"{name}.names"
        names.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
        openssl(
            *("x509", "-req", "-in", request, "-CA", ca, "-CAkey", tmp_path / "ca.key"),
            *("-days", "2", "-extfile", names, "-out", certificate),
        )
        return certificate, key

    return ca, sign


@pytest.fixture
def broker(start, authority):
    """A broker with a port in plain, and one with TLS, on which clients show a certificate."""

    def broker(*options):
        ca, sign = authority
        certificate, key = sign("localhost")
        plain = start(Mosquitto)
        encrypted = start(
            Mosquitto,
            *(f"cafile {ca}", f"certfile {certificate}", f"keyfile {key}", *options),
            *("connection bridge", f"address 127.0.0.1:{plain.port}", "topic # both 0"),
        )
        return plain, encrypted

    return broker


def publish(serve, encrypted, *args, host="127.0.0.1", **options):
    url = f"mqtts://{host}:{encrypted.port}"
    args = ("--mqtt", url, "--mqtt-prefix", "cam", "--mqtt-layout", "framed", *args)
    return serve(*args, **options)


def wait_for_frames(listener):
    wait_until("frames come", lambda: len(framed(listener.messages, "cam")) >= 5)


def test_frames_go_out_and_come_in_over_tls(serve, start, broker, authority, watch):
    plain, encrypted = broker()
    ca, _ = authority
    listener = start(Client, plain, "cam/#")
    publish(serve, encrypted, "--mqtt-ca", ca).wait_for_log("publishing at")
    wait_for_frames(listener)
    relay = serve("--source", f"mqtts://localhost:{encrypted.port}/cam", "--mqtt-ca", ca)
    watch(relay).parts(5)


def test_system_is_asked_whom_to_trust(serve, start, broker, authority):
    plain, encrypted = broker()
    ca, _ = authority
    listener = start(Client, plain, "cam/#")
    camera = publish(serve, encrypted)
    camera.wait_for_log("cannot connect to the broker .*(UnknownIssuer|certificate)")
    publish(serve, encrypted, environment={"SSL_CERT_FILE": str(ca)})
    wait_for_frames(listener)


def test_client_shows_its_certificate(serve, start, broker, authority):
    plain, encrypted = broker("require_certificate true")
    ca, sign = authority
    certificate, key = sign("camera")
    listener = start(Client, plain, "cam/#")
    without = publish(serve, encrypted, "--mqtt-ca", ca)
    without.wait_for_log("the connection to the broker .* is lost|ertificate")
    identity = ("--mqtt-cert", certificate, "--mqtt-key", key)
    publish(serve, encrypted, "--mqtt-ca", ca, *identity)
    wait_for_frames(listener)


def test_wrong_kind_of_port_is_named(serve, broker):
    plain, encrypted = broker()
    url = f"mqtt://127.0.0.1:{encrypted.port}"
    serve("--mqtt", url).wait_for_log("speaks TLS.* mqtts://")
    publish(serve, plain).wait_for_log("does not speak TLS there, see mqtt://")


def test_file_that_is_no_certificate_is_named(serve, broker, tmp_path):
    _, encrypted = broker()
    file = tmp_path / "empty.pem"
    file.write_text("")
    publish(serve, encrypted, "--mqtt-ca", file).wait_for_log("empty.pem")
