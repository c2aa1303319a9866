# SPDX-License-Identifier: Apache-2.0
"""Case 83: the clients that people use, with their defaults, through interception (a bound host, whose
secret they present) and through pass-through (a host with a certificate of its own). No flag and no
variable tells them of any certificate."""

import os
import pathlib
import subprocess

import pytest
from clients import web
from clients.report import note
from harness import leaks
from harness.fixtures import S1
from harness.instance import Instance
from harness.rpc import Sandbox

CACHE = pathlib.Path(os.environ.get("CASEMATE_CACHE", "/var/cache/casemate"))
BIG = str(len(web.BIG))
SIZE = f"200 {BIG}"
PUSHED = 3 << 20  # random bytes, more than git sends in one piece
AUTH = "headers={'Authorization': 'Bearer ' + os.environ['S1']}"
URL = "'https://' + os.environ['HOST'] + '/big'"


# The first one puts some 100 MB into the sandbox.
pytestmark = pytest.mark.seconds(120)


@pytest.fixture(autouse=True)
def fresh_records():
    """The bench of the other files, which records, is not needed here."""


@pytest.fixture(scope="module")
def servers(authority, tmp_path_factory):
    with web.sites(authority, {"api.test": S1, "files.test": None}, tmp_path_factory.mktemp) as made:
        yield made


@pytest.fixture(scope="module")
def box(leaks_before, authority, servers, tmp_path_factory):
    flags = [f"--egress-ca={authority.cert}"]
    flags += [f"--egress-host={name}={site.address}" for name, site in servers.items()]
    with Instance(tmp_path_factory.mktemp("state"), *flags) as instance:
        with Sandbox(instance, allow_net=["api.test", "files.test"],
                     secrets={"S1": {"hosts": ["api.test"], "value": S1}}) as sandbox:
            # The SDKs have a test of their own.
            web.unpack(sandbox, "python", CACHE / "python" / "clients", ("/openai", "/anthropic"))
            web.unpack(sandbox, "tools", CACHE / "npm" / "tools")
            web.unpack(sandbox, "node", CACHE / "node" / "nodejs" / "bin", ("/npm", "/npx", "/corepack"))
            yield sandbox
    assert not leaks.since(leaks_before)


def python(code: str) -> str:
    return f'PYTHONPATH=/home/app/python python3 -c "{code}"'


JS = ("const r = await fetch('https://' + host + '/big', {headers: {authorization: 'Bearer ' + key}});"
      "console.log(r.status, (await r.arrayBuffer()).byteLength)")
NODE_HTTPS = ("require('https').get({host: process.env.HOST, path: '/big', headers: {authorization: "
              "'Bearer ' + process.env.S1}}, r => {let n = 0; r.on('data', d => n += d.length);"
              "r.on('end', () => console.log(r.statusCode, n))})")
AIOHTTP = ("import os, asyncio, aiohttp\n"
           "async def main():\n"
           "    async with aiohttp.ClientSession() as s:\n"
           f"        async with s.get({URL}, {AUTH}) as r: print(r.status, len(await r.read()))\n"
           "asyncio.run(main())")
NODE = "/home/app/node/node"
PNPM = "node /home/app/tools/node_modules/pnpm/bin/pnpm.cjs"
YARN = "node /home/app/tools/node_modules/@yarnpkg/cli-dist/bin/yarn.js"
BUN = "$(echo /home/app/tools/node_modules/@oven/*/bin/bun)"
# Name: how it tells its version, the script, what that must print.
CLIENTS = {
    "curl": ("curl --version", 'curl -sS -f -H "Authorization: Bearer $S1" https://$HOST/big | wc -c', BIG),
    "curl -u": ("curl --version", 'curl -sS -f -u "u:$S1" https://$HOST/big | wc -c', BIG),
    "wget": ("wget --version", 'wget -q -O- --header "Authorization: Bearer $S1" https://$HOST/big | wc -c',
             BIG),
    "git clone": ("git --version", 'git clone -q "https://u:$S1@$HOST/r.git" c && '
                  "git -C c log --format=%s | tail -1", "cloned"),
    "pip": ("pip --version", "pip install -q --no-cache-dir --no-deps --target w "
            '--index-url "https://u:$S1@$HOST/simple/" tiny && PYTHONPATH=w python3 -c '
            '"import tiny; print(tiny.WORD)"', "installed"),
    "uv": ("/home/app/python/bin/uv --version", "/home/app/python/bin/uv pip install -q --no-cache "
           '--target w --default-index "https://u:$S1@$HOST/simple/" tiny && '
           'PYTHONPATH=w python3 -c "import tiny; print(tiny.WORD)"', "installed"),
    "npm": ("npm --version", 'echo "//$HOST/npm/:_authToken=$S1" > .npmrc && '
            'npm install --silent --cache ./cache --registry "https://$HOST/npm/" tiny '
            '>/dev/null && node -p "require(\'tiny\')"', "installed"),
    "node fetch": ("node --version", 'node --input-type=module -e "const host=process.env.HOST, '
                   f'key=process.env.S1;{JS}"', SIZE),
    "node https": ("node --version", f'node -e "{NODE_HTTPS}"', SIZE),
    "node fetch, upstream's build": (
        f"{NODE} --version", f'{NODE} --input-type=module -e "const host=process.env.HOST, '
        f'key=process.env.S1;{JS}"', SIZE),
    "pnpm": (f"{PNPM} --version", 'echo "//$HOST/npm/:_authToken=$S1" > .npmrc && '
             f'{PNPM} add --silent --registry "https://$HOST/npm/" tiny && node -p "require(\'tiny\')"',
             "installed"),
    "yarn": (f"{YARN} --version", "printf 'npmRegistryServer: https://%s/npm\\nnpmAlwaysAuth: true\\n"
             "npmAuthToken: %s\\nnodeLinker: node-modules\\nenableTelemetry: false\\nnpmMinimalAgeGate: 0\\n' $HOST $S1 > .yarnrc.yml && "
             f"echo '{{}}' > package.json && {YARN} add tiny >&2 && node -p \"require('tiny')\"", "installed"),
    "bun": (f"{BUN} --version", 'echo "//$HOST/npm/:_authToken=$S1" > .npmrc && '
            f'{BUN} add --silent --registry "https://$HOST/npm/" tiny >&2 && node -p "require(\'tiny\')"',
            "installed"),
    "bun fetch": (f"{BUN} --version", "echo \"const host=process.env.HOST, key=process.env.S1;" + JS +
                  f'" > f.mjs && {BUN} f.mjs', SIZE),
    "deno fetch": ("deno --version", "echo \"const host=Deno.env.get('HOST'), key=Deno.env.get('S1');" + JS +
                   '" > f.js && deno run -q -A f.js', SIZE),
    "python urllib": ("python3 --version", python(
        "import os, urllib.request as u; r = u.urlopen(u.Request(" + URL + ", " + AUTH + "));"
        "print(r.status, len(r.read()))"), SIZE),
    "python requests": (python("import requests; print(requests.__version__)"), python(
        f"import os, requests; r = requests.get({URL}, {AUTH}); print(r.status_code, len(r.content))"), SIZE),
    "python httpx": (python("import httpx; print(httpx.__version__)"), python(
        f"import os, httpx; r = httpx.get({URL}, {AUTH}); print(r.status_code, len(r.content))"), SIZE),
    "python aiohttp": (python("import aiohttp; print(aiohttp.__version__)"), python(AIOHTTP), SIZE),
}


def run(box, host: str, script: str, **params):
    return box.sh(f"export HOST={host} HOME=/home/app; cd $(mktemp -d) && {script}", timeout=50, **params)


@pytest.mark.parametrize("host", ["api.test", "files.test"])
@pytest.mark.parametrize("client", CLIENTS)
def test_case_83_clients(box, servers, client, host):
    version, script, wanted = CLIENTS[client]
    servers[host].heads.clear()
    out = run(box, host, script)
    assert (out.code, out.text.strip()) == (0, wanted), out
    assert S1.encode() not in out.stdout + out.stderr
    assert servers[host].heads
    if host == "files.test":
        assert not any(S1.encode() in head for head in servers[host].heads)
    note(client, box.check_sh(version), host == "api.test")


@pytest.mark.parametrize("host", ["api.test", "files.test"])
def test_case_83_git_push(box, servers, host):
    """More than git's postBuffer, so that the pack goes in chunks; and a small one, which has a length."""
    out = run(box, host, 'git clone -q "https://u:$S1@$HOST/r.git" c && cd c && '
              "git config user.name t && git config user.email t@t.test && "
              "git commit -q --allow-empty -m small && git push -q origin HEAD:refs/heads/pushed && "
              f"head -c {PUSHED} /dev/urandom > large && git add large && git commit -q -m large && "
              "git push -q origin HEAD:refs/heads/pushed && sha256sum < large && git rev-parse HEAD")
    assert out.code == 0, out
    sum_inside, commit = out.text.split("  -\n")
    top = servers[host].top
    git = ["git", "-C", str(top / "r.git")]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(top), "GIT_CONFIG_NOSYSTEM": "1"}
    got = subprocess.run([*git, "rev-parse", "pushed"], env=env, capture_output=True, text=True, check=True)
    assert got.stdout == commit
    blob = subprocess.run(f"git -C {top}/r.git cat-file blob pushed:large | sha256sum", shell=True, env=env,
                          capture_output=True, text=True, check=True)
    assert blob.stdout.split()[0] == sum_inside
    assert any(b"transfer-encoding: chunked" in head.lower() for head in servers[host].heads)
    assert S1.encode() not in out.stdout + out.stderr
    note("git push", box.check_sh("git --version"), host == "api.test")


@pytest.mark.parametrize("host, without", [("api.test", "/etc/casemate/ca.pem"), ("files.test", "root")])
def test_case_83_it_is_the_roots(box, authority, host, without):
    """The control: with the one root missing that counts, no client would have passed."""
    missing = box.check_sh(f"cat {without}") if without.startswith("/") else authority.cert.read_text()
    bundle = box.check_sh("cat /etc/ssl/certs/ca-certificates.crt")
    body = missing.split("-----")[2].strip()
    blocks = [b for b in bundle.split("-----BEGIN") if b and body not in b]
    assert len(blocks) == bundle.count("-----BEGIN") - 1
    box.write("/home/app/less.pem", "".join("-----BEGIN" + b for b in blocks).encode())
    out = box.sh(f"curl -sS --cacert /home/app/less.pem --capath /nowhere https://{host}/big")
    assert out.code == 60, out


# Clients that bring roots of their own and know the sandbox's by a variable alone.
TOLD = ("uv", "node fetch, upstream's build", "deno fetch", "python requests", "python httpx")


@pytest.mark.parametrize("client", CLIENTS)
def test_case_83_without_the_environment(box, client):
    _, script, wanted = CLIENTS[client]
    key = box.check_sh("printenv S1").strip()
    out = run(box, "api.test", script, clearEnv=True,
              env={"S1": key, "PATH": "/usr/local/bin:/usr/bin:/bin"})
    if client in TOLD:
        assert out.code != 0 and b"cert" in (out.stdout + out.stderr).lower(), out
    else:
        assert (out.code, out.text.strip()) == (0, wanted), out


def test_case_83_who_gets_the_variables(box):
    """sudo and login shells tell the same as the sandbox; what the user set wins everywhere."""
    def variables(script, **params):
        return dict(line.split("=", 1) for line in box.check_sh(script, **params).splitlines())

    paths = {"/etc/ssl/certs/ca-certificates.crt", "/etc/casemate/ca.pem", "/etc/ssl/certs"}
    inside = variables("env")
    names = {n for n, v in inside.items() if v in paths} | {"NODE_USE_SYSTEM_CA", "DENO_TLS_CA_STORE"}
    assert len(names) == 17
    told = {name: inside[name] for name in names}
    for script in ("sudo env", "env -i HOME=/root bash -lc env", "sudo -i env", "sudo su - app -c env"):
        assert {n: v for n, v in variables(script).items() if n in names} == told, script
    own = dict.fromkeys(names, "/own")
    for script in ("env", "sudo env", "bash -lc env"):
        assert {n: v for n, v in variables(script, env=own).items() if n in names} == own, script


def test_case_83_a_variable_of_the_policy_wins(box):
    with Sandbox(box.instance, env={"SSL_CERT_FILE": "/mine.pem"}) as other:
        assert other.check_sh("printenv SSL_CERT_FILE CURL_CA_BUNDLE").split() == [
            "/mine.pem", "/etc/ssl/certs/ca-certificates.crt"]


def test_case_83_the_files(box, authority):
    """The CA stands alone, in the bundle once, and where OpenSSL looks by hash; the bundle is well formed."""
    assert box.check_sh("grep -c BEGIN /etc/casemate/ca.pem").strip() == "1"
    for check in ("openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /etc/casemate/ca.pem",
                  "openssl verify -no-CAfile -CApath /etc/ssl/certs /etc/casemate/ca.pem"):
        assert "OK" in box.check_sh(check), check
    out = box.python(
        "import re, ssl\n"
        "read = lambda path: re.findall('-----BEGIN.*?END CERTIFICATE-----', open(path).read(), re.S)\n"
        "bundle = read('/etc/ssl/certs/ca-certificates.crt')\n"
        "assert len(bundle) == len(set(map(ssl.PEM_cert_to_DER_cert, bundle)))\n"
        "assert read('/etc/casemate/ca.pem')[0] in bundle\n"
        "print(len(bundle))\n")
    assert out.code == 0 and int(out.text) > 100, out
    # An upgrade of ca-certificates in the sandbox writes the bundle anew.
    box.check_sh("sudo update-ca-certificates 2>&1")
    out = run(box, "api.test", CLIENTS["curl"][1])
    assert (out.code, out.text.strip()) == (0, BIG), out
