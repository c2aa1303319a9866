# SPDX-License-Identifier: Apache-2.0
"""The proxies of bench/egress: how each is set up, started and found again. Everything stands in one
folder and ends with the stack that it was started on."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time

HOST = "api.bench.test"  # a secret is bound to it
BARE = "bare.bench.test"  # one that is not redacted
PASS = "files.bench.test"  # none is
VALUE = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyzABCD"
PACKAGES = ["nginx-light", "haproxy", "squid-openssl", "sslsplit", "mitmproxy"]
NAMES = ["direct", "worker", "worker-bare", "worker-pass", "haproxy", "haproxy-pass", "nginx", "squid", "sslsplit",
         "mitmproxy"]
BEFORE = ["before", "before-bare", "before-pass"]
START_SECONDS = 20


@dataclasses.dataclass
class Target:
    name: str
    session: int  # of the processes whose time counts; 0: pid_list instead
    arguments: list  # of the client
    enter: list = dataclasses.field(default_factory=list)  # what runs the client where the proxy is met
    pid_list: list = dataclasses.field(default_factory=list)

    def pids(self):
        return self.pid_list or session_members(self.session)


def stat_fields(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rpartition(")")[2].split()


def session_members(session):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(stat_fields(pid)[3]) == session:
                found.append(int(pid))
        except OSError:
            continue  # it has ended
    return found


def children(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(stat_fields(pid)[1]) == parent:
                found.append(int(pid))
        except OSError:
            continue
    return found


def install():
    """The packages start their services unless told not to."""
    guard = "/usr/sbin/policy-rc.d"
    ours = not os.path.exists(guard)
    if ours:
        with open(guard, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexit 101\n")
        os.chmod(guard, 0o755)
    try:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], check=True)
    finally:
        if ours:
            os.unlink(guard)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} did not start")


class Lab:
    def __init__(self, stack, folder, build):
        self.stack = stack
        self.folder = folder
        self.build = build
        self.origin_port = 0

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        return self.path(name)

    def start(self, name, command, **options):
        """In a session of its own, whose members end with the bench."""
        with open(self.path(name + ".log"), "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True, cwd=self.folder, **options)
        self.stack.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in session_members(process.pid):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                continue
            if not session_members(process.pid):
                return

    def serve(self, name, port, command, **options):
        process = self.start(name, command, **options)
        try:
            wait_for_port(port, process)
        except RuntimeError as e:
            with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as log:
                raise RuntimeError(f"{e}: {log.read()[-2000:]}") from None
        return process.pid

    def arguments(self, port, name=HOST, roots="ca.pem", address="127.0.0.1"):
        return ["-a", address, "-p", str(port), "-n", name, "-C", self.path(roots)]


# --- certificates and the origin ---


def openssl(lab, *arguments):
    subprocess.run(["openssl", *arguments], check=True, cwd=lab.folder, capture_output=True)


def make_certificates(lab):
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl(lab, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench CA")
    openssl(lab, "req", *new_key, "-keyout", "origin.key", "-out", "origin.csr", "-subj", f"/CN={HOST}")
    lab.write("ext", f"subjectAltName=DNS:{HOST},DNS:{BARE},DNS:{PASS},IP:127.0.0.1\n")
    openssl(lab, "x509", "-req", "-in", "origin.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "ext", "-out", "origin.crt")
    for target, parts in (("origin.pem", ["origin.crt", "origin.key"]), ("ca-both.pem", ["ca.key", "ca.pem"])):
        lab.write(target, "".join(open(lab.path(part), encoding="ascii").read() for part in parts))
    shutil.copy(lab.path("ca.pem"), lab.path("roots.pem"))


def make_files(lab):
    os.mkdir(lab.path("www"))
    members = {"id": "chatcmpl-123", "object": "chat.completion", "created": 1677652288, "model": "m-1",
               "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
               "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello!"}}]}
    lab.write("www/small.json", json.dumps(members))
    for name, megabytes in (("ten.bin", 10), ("hundred.bin", 100)):
        with open(lab.path("www", name), "wb") as f:
            for _ in range(megabytes):
                f.write(os.urandom(1000000))


def nginx_paths(lab, name):
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"{kind}_temp_path {lab.path('tmp-' + name)};\n" for kind in kinds)


def nginx(lab, name, port, server, upstream=""):
    config = lab.write(name + ".conf", f"""
user root; worker_processes 1; daemon off; pid {lab.path(name + '.pid')}; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 100000000; ssl_session_cache shared:s:1m;
ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {lab.path('origin.crt')}; ssl_certificate_key {lab.path('origin.key')};
{nginx_paths(lab, name)}
{upstream}
server {{ listen 127.0.0.1:{port} ssl; {server} }} }}
""")
    return lab.serve(name, port, ["nginx", "-e", "stderr", "-c", config])


def start_origin(lab):
    lab.origin_port = free_port()
    return nginx(lab, "origin", lab.origin_port, f"root {lab.path('www')};")


# --- the worker ---


def worker_config():
    secrets = {"KEY": {"hosts": [HOST], "value": VALUE},
               "BARE": {"hosts": [BARE], "value": VALUE[::-1], "redact": False}}
    return {"allow_net": [HOST, BARE, PASS], "secrets": secrets}


def launch_worker(lab, config):
    path = lab.write("worker.json", json.dumps(config))
    ready = lab.path("ready")
    script = f'printf "%s\\n" $$ "$KEY" "$BARE" > {ready}.new && mv {ready}.new {ready} && exec sleep infinity'
    overrides = [f"{name}=127.0.0.1:{lab.origin_port}" for name in (HOST, BARE, PASS)]
    process = lab.start("worker", [os.path.join(lab.build, "tests/unit/egress/worker-host"),
                                   os.path.join(lab.build, "casemate-proxy"), path, lab.folder, *overrides,
                                   "--", "sh", "-c", script])
    end = time.monotonic() + START_SECONDS
    while not os.path.exists(ready) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    if not os.path.exists(ready):
        with open(lab.path("worker.log"), encoding="utf-8") as log:
            raise RuntimeError(f"the worker did not start: {log.read()}")
    with open(ready, encoding="ascii") as f:
        inside, *placeholders = f.read().split("\n")
    return process.pid, inside, placeholders


def start_worker(lab, missing, prefix="worker"):
    config = worker_config()
    try:
        host, inside, (key, bare, *_) = launch_worker(lab, config)
    except RuntimeError as e:
        if "unknown member" not in str(e):
            raise
        missing[prefix + "-bare"] = "this build redacts always"
        del config["secrets"]["BARE"]
        host, inside, (key, bare, *_) = launch_worker(lab, config)
    worker = [pid for pid in children(host) if pid != int(inside)]
    assert len(worker) == 1, worker
    # worker-host writes the sandbox's authority to ca.pem and reads the hosts' from roots.pem.
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net", "--"]
    for name, host_name, roots, placeholder in ((prefix, HOST, "ca.pem", key), (prefix + "-bare", BARE, "ca.pem", bare),
                                                (prefix + "-pass", PASS, "roots.pem", key)):
        if name not in missing:
            yield Target(name, 0, [*lab.arguments(443, host_name, roots, host_name), "-k", placeholder], enter, worker)


def start_idle_workers(stack, folder, build, count):
    """Process ids of workers that are ready, one a sandbox, with a secret each, and never used."""
    lab = Lab(stack, folder, build)
    make_certificates(lab)
    lab.origin_port = 9  # discard: nobody dials
    found = []
    for number in range(count):
        host, inside, _ = launch_worker(worker_lab(lab, f"idle-{number}", build), worker_config())
        found += [pid for pid in children(host) if pid != int(inside)]
    assert len(found) == count, found
    return found


# --- peers ---


def start_haproxy(lab):
    port, pass_port = free_port(), free_port()
    config = lab.write("haproxy.cfg", f"""
global
 maxconn 4096
 nbthread 1
defaults
 mode http
 timeout client 60s
 timeout server 60s
 timeout connect 5s
 http-reuse always
frontend f
 bind 127.0.0.1:{port} ssl crt {lab.path('origin.pem')} alpn http/1.1
 http-request replace-header Authorization (.*)csec_[0-9A-Za-z]+(.*) \\1{VALUE}\\2
 default_backend b
backend b
 server o 127.0.0.1:{lab.origin_port} ssl verify required ca-file {lab.path('ca.pem')} sni str({HOST}) verifyhost {HOST} alpn http/1.1
frontend relay
 mode tcp
 bind 127.0.0.1:{pass_port}
 tcp-request inspect-delay 5s
 tcp-request content accept if {{ req_ssl_hello_type 1 }}
 use_backend relayed if {{ req_ssl_sni -i {PASS} }}
backend relayed
 mode tcp
 server o 127.0.0.1:{lab.origin_port}
""")
    session = lab.serve("haproxy", port, ["haproxy", "-db", "-q", "-f", config])
    yield Target("haproxy", session, lab.arguments(port))
    yield Target("haproxy-pass", session, lab.arguments(pass_port, PASS))


def start_nginx(lab):
    port = free_port()
    session = nginx(lab, "nginx", port, f"""
location / {{ proxy_pass https://o; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host {HOST};
proxy_set_header Authorization "Bearer {VALUE}"; proxy_ssl_server_name on; proxy_ssl_name {HOST}; proxy_ssl_verify on;
proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_trusted_certificate {lab.path('ca.pem')}; proxy_buffering off; }}""",
                    f"upstream o {{ server 127.0.0.1:{lab.origin_port}; keepalive 64; }}")
    yield Target("nginx", session, lab.arguments(port))


def start_squid(lab):
    port = free_port()
    place = lab.path("squid")
    os.mkdir(place)
    shutil.copy(lab.path("ca-both.pem"), place)
    subprocess.run(["/usr/lib/squid/security_file_certgen", "-c", "-s", place + "/db", "-M", "4MB"], check=True,
                   capture_output=True)
    for root, folders, files in os.walk(place):
        for entry in [root, *[os.path.join(root, e) for e in folders + files]]:
            shutil.chown(entry, "proxy", "proxy")
    lab.write("hosts", f"127.0.0.1 {HOST}\n")
    os.chmod(lab.path("hosts"), 0o644)
    os.chmod(lab.path("ca.pem"), 0o644)
    config = lab.write("squid.conf", f"""
http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB tls-cert={place}/ca-both.pem
sslcrtd_program /usr/lib/squid/security_file_certgen -s {place}/db -M 4MB
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
tls_outgoing_options cafile={lab.path('ca.pem')}
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log {place}/cache.log
coredump_dir {place}
pid_filename {place}/squid.pid
hosts_file {lab.path('hosts')}
workers 1
shutdown_lifetime 1 seconds
""")
    session = lab.serve("squid", port, ["squid", "-N", "-f", config])
    yield Target("squid", session, [*lab.arguments(port), "-x", f"{HOST}:{lab.origin_port}"])


def start_sslsplit(lab):
    port = free_port()
    session = lab.serve("sslsplit", port, ["sslsplit", "-u", "root", "-K", lab.path("origin.key"), "-k",
                                           lab.path("ca.key"), "-c", lab.path("ca.pem"), "https", "127.0.0.1",
                                           str(port), "127.0.0.1", str(lab.origin_port)])
    yield Target("sslsplit", session, lab.arguments(port))


ADDON = f'''
import re
PLACEHOLDER = re.compile("csec_[0-9A-Za-z]+")
def request(flow):
    old = flow.request.headers.get("Authorization")
    if old and "csec_" in old:
        flow.request.headers["Authorization"] = PLACEHOLDER.sub("{VALUE}", old)
'''


def start_mitmproxy(lab):
    port = free_port()
    os.mkdir(lab.path("mitm"))
    shutil.copy(lab.path("ca-both.pem"), lab.path("mitm/mitmproxy-ca.pem"))
    session = lab.serve("mitmproxy", port, [
        "mitmdump", "-q", "--mode", f"reverse:https://127.0.0.1:{lab.origin_port}", "--listen-host", "127.0.0.1",
        "-p", str(port), "--set", f"confdir={lab.path('mitm')}", "--set",
        f"ssl_verify_upstream_trusted_ca={lab.path('ca.pem')}", "--set", "stream_large_bodies=100k", "--set",
        "http2=false", "-s", lab.write("addon.py", ADDON)])
    yield Target("mitmproxy", session, lab.arguments(port))


STARTERS = [("haproxy", "haproxy", start_haproxy), ("nginx", "nginx", start_nginx), ("squid", "squid", start_squid),
            ("sslsplit", "sslsplit", start_sslsplit), ("mitmproxy", "mitmdump", start_mitmproxy)]


def start_all(stack, folder, build, wanted, before):
    """All that are wanted and installed; and why others are missing. before: another build or None."""
    if shutil.which("nginx") is None:
        raise SystemExit("bench/egress: the origin is nginx, which is not installed: bench/egress --install")
    lab = Lab(stack, folder, build)
    missing = {}
    make_certificates(lab)
    make_files(lab)
    origin = start_origin(lab)
    targets = [Target("direct", origin, lab.arguments(lab.origin_port))]
    if any(name.startswith("worker") for name in wanted):
        targets += start_worker(worker_lab(lab, "worker", build), missing)
    if before:
        targets += start_worker(worker_lab(lab, "before", os.path.abspath(before)), missing, "before")
        wanted = wanted + BEFORE
    for package, program, start in STARTERS:
        if not any(name.startswith(package) for name in wanted):
            continue
        if shutil.which(program) is None:
            missing.update({name: "not installed" for name in NAMES if name.startswith(package)})
            continue
        targets += start(lab)
    return [t for t in targets if t.name in wanted], missing


# A folder of its own, for there it finds the roots and writes its sandbox's authority.
def worker_lab(lab, name, build):
    inner = Lab(lab.stack, lab.path(name), build)
    os.mkdir(inner.folder)
    inner.origin_port = lab.origin_port
    shutil.copy(lab.path("roots.pem"), inner.path("roots.pem"))
    return inner
