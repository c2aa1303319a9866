# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for tests, made by the openssl command."""

import pathlib
import subprocess

# Before this there was no certificate of ours; openssl-ca(1) wants dates as YYYYMMDDHHMMSSZ.
LONG_AGO = "20200101000000Z"
YESTERYEAR = "20210101000000Z"

_CONFIG = """
[ca]
default_ca = main
[main]
dir = {dir}
database = {dir}/index
serial = {dir}/serial
new_certs_dir = {dir}
default_md = {digest}
default_days = 30
unique_subject = no
policy = any
copy_extensions = none
email_in_dn = no
[any]
commonName = supplied
[req]
distinguished_name = req_dn
prompt = no
[req_dn]
CN = test
[leaf]
basicConstraints = critical,CA:false
extendedKeyUsage = serverAuth
subjectAltName = {san}
"""


def openssl(*args: str) -> str:
    done = subprocess.run(["openssl", *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr}")
    return done.stdout


class Authority:
    """A root in directory; `cert` is its certificate in PEM."""

    def __init__(self, directory: pathlib.Path, name: str = "Casemate test root"):
        directory.mkdir(parents=True, exist_ok=True)
        self.dir = directory
        self.cert = directory / "root.pem"
        self.key = directory / "root.key"
        self._issued = 0
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", str(self.key), "-out", str(self.cert), "-days", "30",
                "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:true",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        (directory / "index").touch()
        (directory / "serial").write_text("1000\n")

    def issue(self, *sans: str, start: str | None = None, end: str | None = None,
              key: str = "ec", digest: str = "sha256") -> tuple[pathlib.Path, pathlib.Path]:
        """A leaf for these subject alternative names ("DNS:a.test", "IP:127.0.0.1"; a bare name
        is a DNS name). Returns the files of its certificate and key."""
        self._issued += 1
        stem = self.dir / f"leaf-{self._issued}"
        cert, key_file, csr = (stem.with_suffix(s) for s in (".pem", ".key", ".csr"))
        config = stem.with_suffix(".cnf")
        san = ",".join(s if ":" in s else f"DNS:{s}" for s in sans)
        config.write_text(_CONFIG.format(dir=self.dir, san=san, digest=digest))
        kind = {
            "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "rsa1024": ["rsa:1024"],
        }[key]
        openssl("req", "-new", "-newkey", *kind, "-nodes", "-keyout", str(key_file),
                "-out", str(csr), "-subj", "/CN=test", "-config", str(config))
        dates = [*(["-startdate", start] if start else []), *(["-enddate", end] if end else [])]
        openssl("ca", "-batch", "-notext", "-config", str(config), "-cert", str(self.cert),
                "-keyfile", str(self.key), "-in", str(csr), "-out", str(cert),
                "-extensions", "leaf", *dates)
        return cert, key_file
