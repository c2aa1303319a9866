# SPDX-License-Identifier: Apache-2.0
"""What a policy says, in full: of the caller, and of the operator."""

import atexit
import base64
import json
import os
import pathlib
import shutil
import tempfile
import threading
import time

import pytest
from egress_bench import GOOD, GOOD6, OTHER, S1, Box, status_of
from harness.instance import Instance, wait_until
from harness.lab import Network
from harness.rpc import Sandbox
from websockets.exceptions import InvalidStatus

KEY = "sk-test-3f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2Qw8RtB1"
FILE_VALUE = "file-canary-5b8e02d3a6c7f1150d9be07c4415f84b"
COMMAND_VALUE = "command-canary-e02d3a6c7f1150d9be07c4415f84b5b8"
GET = b"GET /%s HTTP/1.1\r\nHost: api.test\r\nx-key: %s\r\nConnection: close\r\n\r\n"
PRIVATE_HOST, CLOSED_HOST = "db.pkg.test", "other.pkg.test"


def instance_flags(_) -> list[str]:
    # Not below pytest's folder, which is root's alone: the service reads these as its own user.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="casemate-egress-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    value = folder / "value"
    value.write_text(FILE_VALUE + "\n")
    script = folder / "token"
    script.write_text(f"#!/bin/sh\necho run >> {folder}/runs\necho {COMMAND_VALUE}-$1\n")
    script.chmod(0o755)
    (folder / "runs").touch()
    (folder / "runs").chmod(0o666)
    failing = folder / "failing"
    failing.write_text("#!/bin/sh\necho do-not-show-this; exit 3\n")
    failing.chmod(0o755)
    hosts = {"hosts": ["api.test", "two.test"]}
    config = folder / "egress.json"
    config.write_text(json.dumps({
        "ceiling": {"denyNet": ["forbidden.test", "*.forbidden.test"]},
        "private": [PRIVATE_HOST, "10.1.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "192.0.2.0/24"],
        "policies": {
            "narrow": {"allowNet": ["api.test:443", "two.test"]},
            "given": {"allowNet": ["api.test"], "secrets": {"GIVEN": {"ref": "file", "hosts": ["api.test"]}}},
        },
        "secrets": {
            "file": {"file": str(value), **hosts, "methods": ["GET"]},
            "gone": {"file": str(folder / "nothing"), **hosts},
            "command": {"command": [str(script), "argument"], "ttl": 600, **hosts},
            "failing": {"command": [str(failing)], "ttl": 600, **hosts},
            "endless": {"command": ["/bin/sh", "-c", "yes; sleep 60"], "ttl": 600, **hosts},
        }}))
    return [f"--egress-config={config}"]


@pytest.fixture
def boxes(lab):
    made = []

    def make(**config) -> Box:
        made.append(Box(lab, **config))
        return made[-1]

    yield make
    for box in made:
        box.close()


def refused(lab, status: int, code: str, **config) -> str:
    """What the refusal of a create says."""
    with pytest.raises(InvalidStatus) as caught:
        Sandbox(lab.instance, **config)
    answer = json.loads(caught.value.response.body)
    assert (caught.value.response.status_code, answer["code"]) == (status, code), answer
    return answer["message"]


def secret(**more) -> dict:
    return {"KEY": {"hosts": ["api.test"], "value": KEY, **more}}


def sent(lab, header: str = "x-key") -> str:
    return lab.good.last().header(header)


# --- lists ---

@pytest.mark.parametrize("spelling", ["deny_net", "denyNet"])
def test_deny_wins(lab, boxes, spelling):
    box = boxes(allow_net=["*.pkg.test", "api.test"], **{spelling: ["a.b.pkg.test", "api.test:80"]})
    assert box.ok("-k", "https://a.pkg.test/") == "ok"
    assert box.ok("-k", "https://api.test/") == "ok"
    lab.forget()
    for url in ("https://a.b.pkg.test/", "http://api.test/"):
        assert box.curl("-k", "-f", url).code != 0
    assert not lab.good.requests
    event = lab.instance.audit.wait(ev="conn_deny", sandbox=box.id, name="a.b.pkg.test")
    assert event["rule"] == "a.b.pkg.test"


def test_deny_of_addresses_holds_for_names(lab, boxes):
    box = boxes(deny_net=[f"{GOOD}/32:443"])
    assert box.ok("http://files.test/") == "ok"
    lab.forget()
    assert box.curl("-k", "-f", "https://files.test/").code != 0
    assert box.curl("-k", "-f", f"https://{GOOD}/").code != 0
    assert not lab.good.requests


@pytest.mark.parametrize("config, names", [
    ({"deny_net": [], "denyNet": []}, "denyNet"),
    ({"deny_net": ["x..y"]}, "x..y"),
    ({"ech": "perhaps"}, "ech"),
    ({"on_misuse": {"tail": "pass"}}, "tail"),
    ({"maxTxBytes": -1}, "maxTxBytes"),
    ({"secrets": secret(colour="red")}, "colour"),
    ({"secrets": secret(prefix="other-")}, "prefix"),
    ({"secrets": secret(where=["head"])}, "where"),
    ({"secrets": secret(), "denyNet": ["api.test"]}, "api.test"),
    ({"secrets": secret(hosts=["api.test"]), "allow_net": ["two.test"]}, "api.test"),
    ({"secrets": secret(hosts=[])}, "host"),
    ({"secrets": {"KEY": {"hosts": ["api.test"], "value": "short", "redact": True}}}, "redact"),
    ({"secrets": {"KEY": {"ref": "nothing"}}}, "nothing"),
    ({"secrets": {"KEY": {"ref": "file", "hosts": ["files.test"]}}}, "files.test"),
    ({"secrets": {"KEY": {"ref": "file", "value": "mine"}}}, "value"),
    ({"labels": {"policy": "nothing"}}, "given"),
], ids=lambda c: json.dumps(c)[:60])
def test_refused_by_name(lab, config, names):
    message = refused(lab, 400, "INVALID_CONFIG", **config)
    assert names in message and KEY not in message


@pytest.mark.parametrize("config, names", [
    ({"caConstraint": "open"}, "caConstraint"), ({"secrets": secret(where=["body"])}, "body"),
    ({"secrets": secret(where=["ws"])}, "ws"), ({"secrets": secret(sign={})}, "sign"),
], ids=lambda c: json.dumps(c)[:60])
def test_what_is_not_offered_is_said_by_name(lab, config, names):
    assert names in refused(lab, 501, "NOT_IMPLEMENTED", **config)


# --- secrets ---

def test_the_public_prefix_is_kept(lab, boxes):
    box = boxes(secrets=secret(prefix="sk-test-"))
    p = box.placeholder("KEY")
    assert p.startswith("sk-test-csec_") and len(p) == len(KEY) and p != KEY
    box.ok("https://api.test/", "-H", f"x-key: {p}")
    assert sent(lab) == KEY
    blob = base64.b64encode(f"u:{p}".encode()).decode()
    box.ok("https://api.test/", "-H", f"authorization: Basic {blob}")
    assert base64.b64decode(sent(lab, "authorization")[6:]).decode() == f"u:{KEY}"
    lab.forget()
    result = box.request(GET % (b"", p.removeprefix("sk-test-").encode()))
    assert status_of(result) == 403 and not lab.good.requests


def test_ports(lab, boxes):
    box = boxes(secrets=secret(ports=[8443]))
    p = box.placeholder("KEY")
    box.ok("https://api.test:8443/", "-H", f"x-key: {p}")
    assert sent(lab) == KEY
    box.ok("-k", "https://api.test/", "-H", f"x-key: {p}")
    assert sent(lab) == p, "bound to another port: nothing is looked at here"


def test_methods_and_paths(lab, boxes):
    box = boxes(secrets=secret(methods=["GET"], paths=["/v1/*"]))
    p = box.placeholder("KEY").encode()
    box.ok("https://api.test/v1/models", "-H", f"x-key: {p.decode()}")
    assert sent(lab) == KEY
    lab.forget()
    for head in (GET % (b"v2/models", p), (GET % (b"v1/models", p)).replace(b"GET", b"PUT", 1),
                 GET % (b"v1/../v2", p), GET % (b"v1/%2e%2e/v2", p), GET % (b"v1//x", p)):
        assert status_of(box.request(head)) == 403, head
    assert not lab.good.requests
    event = lab.instance.audit.wait(ev="misuse", sandbox=box.id)
    assert event["reason"] == "placeholder_not_for_request"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_methods_and_paths_that_a_server_may_read_otherwise(lab, boxes, version):
    box = boxes(secrets=secret(methods=["POST"], paths=["/v1/*"]))
    ask = (version, "-X", "POST", "https://api.test/v1/echo", "-H", f"x-key: {box.placeholder('KEY')}")
    for field in ("X_HTTP-Method_Override: DELETE", "X-Original-Url: /admin"):
        assert "placeholder_not_for_request" in box.curl(*ask, "-H", field).text
    assert not lab.good.requests
    box.ok(*ask)


def test_case_13_in_a_path_that_is_enabled(lab, boxes):
    box = boxes(secrets=secret(where=["path"]))
    p = box.placeholder("KEY")
    for written in (p, p.replace("csec_", "cse%63%5f")):
        box.ok(f"https://api.test/bot{written}/getMe?a=1")
        assert lab.good.last().target == f"/bot{KEY}/getMe?a=1"
    assert {e["path"] for e in lab.instance.audit.events(ev="request", sandbox=box.id)} == {"/bot{KEY}/getMe"}
    assert p not in lab.instance.audit.file.read_text()
    lab.forget()
    for head in (GET % (b"", p.encode()), GET % (b"?k=" + p.encode(), b"")):
        assert status_of(box.request(head)) == 403
    assert not lab.good.requests


def test_case_29_plain_http_where_it_is_allowed(lab, boxes):
    box = boxes(secrets=secret(plainHttp=True))
    box.ok("http://api.test/", "-H", f"x-key: {box.placeholder('KEY')}")
    assert sent(lab) == KEY


@pytest.mark.parametrize("head", [
    b"authorization: AWS4-HMAC-SHA256 Credential=P/20260101/eu/s3/aws4_request, "
    b"SignedHeaders=host, Signature=00",
    b"authorization: AWS P:c2lnbmF0dXJl", b"x-amz-security-token: P",
    b"authorization: Signature keyId=\"P\",algorithm=\"hmac-sha256\",signature=\"x\"",
    b"QUERY?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=P%2f2026&X-Amz-Signature=00",
])
def test_case_21_signed_requests(lab, boxes, head):
    box = boxes(secrets=secret())
    head = head.replace(b"P", box.placeholder("KEY").encode(), 1)
    line, field = (b"GET /x%s HTTP/1.1" % head[5:], b"x-a: b") if head.startswith(b"QUERY") else \
        (b"GET /x HTTP/1.1", head)
    result = box.request(line + b"\r\nHost: api.test\r\n" + field + b"\r\n\r\n", until="}")
    assert status_of(result) == 403
    assert b"signed_request" in result["data"]
    assert not lab.good.requests


def test_misuse_that_passes(lab, boxes):
    box = boxes(secrets=secret(where=["header"]), onMisuse={"head": "pass"})
    p = box.placeholder("KEY")
    box.ok(f"https://api.test/?k={p}", "-H", f"x-key: {p}")
    assert lab.good.last().target == f"/?k={p}" and sent(lab) == KEY
    event = lab.instance.audit.wait(ev="misuse", sandbox=box.id)
    assert (event["where"], event["action"]) == ("query", "pass")


def test_bodies_that_are_blocked(lab, boxes):
    box = boxes(secrets=secret(), on_misuse={"body": "block"})
    p = box.placeholder("KEY")
    box.ok("https://api.test/", "--data-raw", "nothing of that kind")
    lab.forget()
    out = box.curl("-w", "%{http_code}", "https://api.test/", "--data-raw", f"quoting {p}")
    assert out.text.endswith("403") and "KEY" in out.text
    chunks = box.curl("-w", "%{http_code}", "https://api.test/", "-H", "transfer-encoding: chunked",
                      "--data-raw", f"quoting {p}")
    assert chunks.text.endswith("403")
    assert not lab.good.requests
    event = lab.instance.audit.wait(ev="misuse", sandbox=box.id)
    assert (event["where"], event["action"], event["secret"]) == ("body", "block", "KEY")


def test_case_10_values_are_not_looked_at_again(lab, boxes):
    theirs = boxes(secrets=secret()).placeholder("KEY")
    value = f"a{theirs}b"
    box = boxes(secrets={"NESTED": {"hosts": ["api.test"], "value": value,
                                    "where": ["header", "query", "path"]},
                         "OTHER": {"hosts": ["api.test"], "value": "another-value-of-some-length"}})
    p, other = box.placeholder("NESTED"), box.placeholder("OTHER")
    box.ok(f"https://api.test/{p}?k={p}", "-H", f"x-key: {p}{other}{p}")
    assert lab.good.last().target == f"/{value}?k={value}"
    assert sent(lab) == f"{value}another-value-of-some-length{value}"


@pytest.mark.parametrize("secrets, names", [
    (secret(value="canary-with-a\rbreak"), "KEY"), (secret(value="canary-with-a\nbreak"), "KEY"),
    (secret(value=""), "empty"), (secret(placeholder="csec_short"), "placeholder"),
    ({"ONE": {"hosts": ["api.test"], "value": "canary-twice"},
      "TWO": {"hosts": ["two.test"], "value": "canary-twice"}}, "same value"),
], ids=["cr", "lf", "empty", "chosen", "twice"])
def test_case_11_secrets_that_cannot_be(lab, secrets, names):
    message = refused(lab, 400, "INVALID_CONFIG", secrets=secrets)
    assert names in message and "canary" not in message


@pytest.mark.parametrize("host, allowed", [
    ("a.pkg.test", False), ("a.b.pkg.test", False), ("pkg.test", True), ("evilpkg.test", True)])
def test_case_36_wildcards_that_deny(lab, boxes, host, allowed):
    box = boxes(deny_net=["*.pkg.test"])
    assert (box.curl("-k", "-f", f"https://{host}/").code == 0) == allowed
    assert bool(lab.good.requests) == allowed


def test_case_38_ranges_that_deny(lab, boxes):
    box = boxes(allow_net=["203.0.113.0/24", "198.51.100.7", f"[{GOOD6}]"],
                deny_net=["203.0.113.8/29", "198.51.100.0/24:80", "[2001:db8::]/64"])
    assert box.ok("-k", f"https://{OTHER}/") == "ok"
    lab.forget()
    for url in (f"https://{GOOD}/", f"https://[::ffff:{GOOD}]/", f"http://{OTHER}/",
                f"https://[{GOOD6}]/"):
        assert box.curl("-k", "-f", url).code != 0, url
    assert not lab.good.requests
    for rule in ("0x7f.1", "127.1", "1.2.3.4/33", "1.2.3.4/24", "2001:db8::1"):
        refused(lab, 400, "INVALID_CONFIG", deny_net=[rule])


# --- the operator ---

def test_the_ceiling_narrows(lab, boxes):
    lab.resolver.zone["forbidden.test"] = (GOOD,)
    box = boxes(allow_net=["*.test", "forbidden.test"])
    assert box.curl("-k", "-f", "https://forbidden.test/").code != 0
    assert not lab.good.requests
    event = lab.instance.audit.wait(ev="conn_deny", sandbox=box.id, name="forbidden.test")
    assert "operator" in event["reason"]
    assert box.ok("-k", "https://files.test/") == "ok"
    assert "forbidden.test" in refused(
        lab, 400, "INVALID_CONFIG", secrets=secret(hosts=["forbidden.test"]))


def test_policies_by_label(lab, boxes):
    box = boxes(labels={"policy": "narrow"}, allow_net=["api.test", "files.test"])
    assert box.ok("-k", "https://api.test/") == "ok"
    lab.forget()
    for url in ("http://api.test/", "https://two.test/", "https://files.test/"):
        assert box.curl("-k", "-f", url).code != 0, url
    assert not lab.good.requests


def test_a_policy_gives_secrets(lab, boxes):
    box = boxes(labels={"policy": "given"})
    box.ok("https://api.test/", "-H", f"x-key: {box.placeholder('GIVEN')}")
    assert sent(lab) == FILE_VALUE
    refused(lab, 400, "INVALID_CONFIG", labels={"policy": "given"}, env={"GIVEN": "x"})


def test_secrets_from_a_file(lab, boxes):
    box = boxes(secrets={"MINE": {"ref": "file", "hosts": ["api.test"]}})
    p = box.placeholder("MINE")
    assert FILE_VALUE not in json.dumps(box.sandbox.call("envToObject"))
    box.ok("https://api.test/", "-H", f"x-key: {p}")
    assert sent(lab) == FILE_VALUE
    assert status_of(box.request((GET % (b"", p.encode())).replace(b"GET", b"PUT", 1))) == 403
    message = refused(lab, 503, "UNAVAILABLE", secrets={"MINE": {"ref": "gone"}})
    assert "gone" in message


def test_secrets_from_a_command(lab, boxes):
    for _ in range(2):
        box = boxes(secrets={"MINE": {"ref": "command", "hosts": ["api.test"]}})
        box.ok("https://api.test/", "-H", f"x-key: {box.placeholder('MINE')}")
        assert sent(lab) == COMMAND_VALUE + "-argument"
    flag = next(f for f in lab.instance.flags if f.startswith("--egress-config="))
    runs = pathlib.Path(flag.partition("=")[2]).parent / "runs"
    assert runs.read_text() == "run\n", "kept for its time to live"
    for name in ("failing", "endless"):
        message = refused(lab, 503, "UNAVAILABLE", secrets={"MINE": {"ref": name}})
        assert name in message and "do-not-show-this" not in message
    log = lab.instance.log_file.read_text()
    assert not any(v in log for v in (COMMAND_VALUE, FILE_VALUE, "do-not-show-this"))


@pytest.mark.parametrize("name, address, opened", [
    (PRIVATE_HOST, "10.1.2.3", True), (PRIVATE_HOST, "192.168.77.1", True),
    (PRIVATE_HOST, "100.64.3.3", True), (CLOSED_HOST, "10.1.2.3", True),
    (CLOSED_HOST, "192.168.77.1", False), (CLOSED_HOST, "172.16.9.9", False),
    (PRIVATE_HOST, "169.254.169.254", False), (PRIVATE_HOST, "127.0.0.1", False),
    (PRIVATE_HOST, "::1", False), (PRIVATE_HOST, "::ffff:127.0.0.1", False),
    (PRIVATE_HOST, Network.NODE, False), (PRIVATE_HOST, Network.NODE_SECOND, False),
    (PRIVATE_HOST, Network.NODE6, False), (PRIVATE_HOST, "0.0.0.0", False),
    (PRIVATE_HOST, "fd00:ec2::254", False),
])
def test_case_39_what_the_operator_opens(lab, boxes, name, address, opened):
    lab.resolver.zone[name] = (address,)
    box = boxes(allow_net=["*.pkg.test"])
    done = box.curl("-k", "-f", f"https://{name}/")
    assert (done.code == 0) == opened, done.stderr
    assert bool(lab.private.requests) == opened
    assert not lab.node.connections


def test_case_39_what_the_operator_opens_by_address(lab, boxes):
    box = boxes(allow_net=["10.1.2.3", "172.16.9.9", "169.254.169.254", "127.0.0.1", Network.NODE])
    assert box.ok("-k", "https://10.1.2.3/") == "ok"
    lab.forget()
    for address in ("172.16.9.9", "169.254.169.254", Network.NODE):
        assert box.curl("-k", "-f", f"https://{address}/").code != 0, address
    without = boxes()
    assert without.curl("-k", "-f", "https://10.1.2.3/").code != 0, "no list names it"
    assert not lab.private.connections and not lab.node.connections


def test_a_list_can_be_required(lab, tmp_path):
    config = tmp_path / "egress.json"
    config.write_text(json.dumps({"requireAllowNet": True}))
    with Instance(tmp_path / "state", f"--egress-config={config}",
                  f"--egress-ca={lab.authority.cert}") as instance:
        with pytest.raises(InvalidStatus) as caught:
            Sandbox(instance)
        assert caught.value.response.status_code == 400
        assert b"allow_net" in caught.value.response.body
        Sandbox(instance, allow_net=[]).close()


def test_credentials(lab, tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    (folder / "api-key").write_text(S1)
    os.chmod(folder / "api-key", 0o400)
    config = tmp_path / "egress.json"
    config.write_text(json.dumps({"secrets": {"key": {"credential": "api-key",
                                                      "hosts": ["api.test"]}}}))
    with Instance(tmp_path / "state", f"--egress-config={config}",
                  f"--egress-ca={lab.authority.cert}",
                  env={"CREDENTIALS_DIRECTORY": str(folder)}) as instance:
        with Sandbox(instance, secrets={"K": {"ref": "key"}}) as sandbox:
            sandbox.check_sh('curl -fsS -H "x-key: $K" https://api.test/')
    assert lab.good.last().header("x-key") == S1


def test_a_command_that_runs_when_the_service_stops(lab, tmp_path):
    config = tmp_path / "egress.json"
    config.write_text(json.dumps({"secrets": {"slow": {
        "command": ["/bin/sh", "-c", "/bin/sleep 58.31; true"], "ttl": 9, "hosts": ["api.test"]}}}))
    marks = (b"sleep\x0058.31", b"sleep 58.31; true")

    def running() -> int:
        return sum(any(m in read(f) for m in marks) for f in pathlib.Path("/proc").glob("[0-9]*/cmdline"))

    def read(file: pathlib.Path) -> bytes:
        try:
            return file.read_bytes()
        except OSError:
            return b""

    def create():
        with pytest.raises(Exception):
            Sandbox(instance, secrets={"K": {"ref": "slow"}})

    with Instance(tmp_path / "state", f"--egress-config={config}",
                  f"--egress-ca={lab.authority.cert}") as instance:
        waiting = [threading.Thread(target=create) for _ in range(3)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: running() == 2, what="one command, its shell and its sleep")
        Sandbox(instance).close()  # nobody else waits
        begin = time.monotonic()
    assert time.monotonic() - begin < 8
    wait_until(lambda: running() == 0, what="the end of the command")
    for thread in waiting:
        thread.join()


def many_hosts(count: int) -> list[str]:
    return [f"h{n}." + "x" * 60 + ".test" for n in range(count)]


def test_many_hosts_and_too_many_for_one_authority(lab):
    """The certificate of a sandbox's authority names each: as many as it can hold, and no more."""
    hosts = ["api.test", *many_hosts(400)]
    secrets = {f"S{n}": {"hosts": ["api.test"] if n == 0 else hosts[n:n + 30], "value": f"{n:02}{S1}"}
               for n in range(0, 400, 30)}
    box = Box(lab, allow_net=["*.test"], secrets=secrets)
    box.ok("https://api.test/echo", "-H", f"x-key: {box.placeholder('S0')}")
    assert lab.good.last().header("x-key") == f"00{S1}"
    box.close()
    message = refused(lab, 400, "INVALID_CONFIG", allow_net=["*.test"], inspect=many_hosts(256),
                      secrets={**secrets, "LONG": {"hosts": [("y" * 62 + ".") * 3 + f"{n}.test" for n in range(32)],
                                                   "value": S1}})
    assert "name fewer" in message and "*.example.com" in message
