# SPDX-License-Identifier: Apache-2.0
"""Case 83 for the languages that the base image has not: in an image with them (clients/runtimes), small
programs that were compiled there reach a bound and an unbound host, told of no certificate."""

import pytest
from clients import web
from clients.report import note
from harness import leaks
from harness.fixtures import S1
from harness.instance import Instance, build_dir
from harness.rpc import Sandbox

IMAGE = build_dir() / "image-runtimes" / "base.erofs"
SIZE = f"200 {len(web.BIG)}"
AT = "/opt/clients"
# Name: how it tells its version, and the command.
CLIENTS = {
    "go": ("go version", f"{AT}/fetch-go"),
    "java HttpClient": ("java --version", f"java -cp {AT} Fetch"),
    "java HttpsURLConnection": ("java --version", f"java -cp {AT} Fetch old"),
    "rust reqwest, OpenSSL": ("dpkg-query -W -f '${Version}' librust-reqwest-dev", f"{AT}/fetch-rust"),
    "rust reqwest, rustls": ("dpkg-query -W -f '${Version}' librust-reqwest-dev", f"{AT}/fetch-rust rustls"),
    "ruby": ("ruby --version", f"ruby {AT}/fetch.rb"),
    "php streams": ("php --version", f"php {AT}/fetch.php"),
    "php curl": ("php --version", f"php {AT}/fetch.php curl"),
    "perl LWP": ("perl -MLWP -e 'print $LWP::VERSION'", f"perl {AT}/fetch.pl"),
}
pytestmark = pytest.mark.skipif(
    not IMAGE.exists(), reason="no image: image/build --with tests/security/egress/clients/runtimes")


@pytest.fixture(autouse=True)
def fresh_records():
    """The bench of the other files, which records, is not needed here."""


@pytest.fixture(scope="module")
def servers(authority, tmp_path_factory):
    with web.sites(authority, {"api.test": S1, "files.test": None}, tmp_path_factory.mktemp) as made:
        yield made


@pytest.fixture(scope="module")
def box(leaks_before, authority, servers, tmp_path_factory):
    flags = [f"--image={IMAGE}", f"--egress-ca={authority.cert}"]
    flags += [f"--egress-host={name}={site.address}" for name, site in servers.items()]
    with Instance(tmp_path_factory.mktemp("state"), *flags) as instance:
        with Sandbox(instance, allow_net=["api.test", "files.test"],
                     secrets={"S1": {"hosts": ["api.test"], "value": S1}}) as sandbox:
            yield sandbox
    assert not leaks.since(leaks_before)


@pytest.mark.parametrize("host", ["api.test", "files.test"])
@pytest.mark.parametrize("client", CLIENTS)
def test_case_83_runtimes(box, servers, client, host):
    version, command = CLIENTS[client]
    servers[host].heads.clear()
    out = box.sh(f"export HOST={host}; {command}", timeout=50)
    assert (out.code, out.text.strip()) == (0, SIZE), out
    assert out.stderr == b""
    if host == "files.test":
        assert not any(S1.encode() in head for head in servers[host].heads)
    note(client, box.check_sh(version), host == "api.test")


@pytest.mark.parametrize("client", CLIENTS)
def test_case_83_runtimes_without_the_environment(box, client):
    """Their roots come from files, Java's from its own."""
    key = box.check_sh("printenv S1").strip()
    out = box.sh(CLIENTS[client][1], clearEnv=True, timeout=50,
                 env={"S1": key, "HOST": "api.test", "PATH": "/usr/bin:/bin"})
    assert (out.code, out.text.strip(), out.stderr) == (0, SIZE, b""), out


def test_case_83_java_keystore(box):
    """keytool finds the file in order: what Debian put there and what was added."""
    listed = box.check_sh("keytool -list -cacerts -storepass changeit 2>/dev/null")
    assert "casemate-" in listed and "debian:" in listed


def test_case_83_aws_cli(box, servers):
    """Signed requests are another matter; here only that it trusts the host, which knows no such call."""
    for host in ("api.test", "files.test"):
        servers[host].heads.clear()
        out = box.sh(f"AWS_EC2_METADATA_DISABLED=true aws s3 ls --no-sign-request --region us-east-1 "
                     f"--endpoint-url https://{host} s3://bucket 2>&1", timeout=50)
        assert servers[host].heads, out
        assert "SSL" not in out.text
        note("aws CLI", box.check_sh("aws --version"), host == "api.test")
