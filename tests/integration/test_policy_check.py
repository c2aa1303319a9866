# SPDX-License-Identifier: Apache-2.0
"""`casemate policy check`, which needs no service."""

import json
import subprocess

import pytest
from harness.instance import build_dir

VALUE = "canary-of-a-value-7b1d0c5e"
POLICY = {
    "allowNet": ["*.test", "10.1.2.3"], "denyNet": ["bad.test"], "inspect": ["seen.test"],
    "secrets": {"KEY": {"hosts": ["api.test"], "value": VALUE, "where": ["header", "path"]},
                "WIDE": {"hosts": ["*.pkg.test"]}},
}
OPERATOR = {"ceiling": {"denyNet": ["closed.test"]}, "private": ["10.1.0.0/16"],
            "policies": {"narrow": {"allowNet": ["api.test:443"]}},
            "secrets": {"held": {"file": "/does/not/exist", "hosts": ["api.test"]}}}


def check(tmp_path, policy, *target, options=()) -> subprocess.CompletedProcess:
    file = tmp_path / "policy.json"
    file.write_text(policy if isinstance(policy, str) else json.dumps(policy))
    done = subprocess.run([build_dir() / "casemate", "policy", "check", *options, file, *target],
                          capture_output=True, text=True, timeout=10, check=False)
    assert VALUE not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("target, status, told", [
    ("api.test", 0, ["allowed", "*.test", "KEY", "header, path", "intercepted: yes"]),
    ("seen.test", 0, ["intercepted: yes, it is inspected"]),
    ("files.test:22", 0, ["intercepted: no"]),
    ("bad.test", 1, ["refused", "bad.test", "denies"]),
    ("evil.example", 1, ["refused", "no rule allows it"]),
    ("10.1.2.3", 1, ["private address"]),
])
def test_explains(tmp_path, target, status, told):
    done = check(tmp_path, POLICY, target)
    assert done.returncode == status, done.stderr
    assert all(text in done.stdout for text in told), done.stdout
    assert "warning: secret WIDE" in done.stdout


def test_with_the_operators_word(tmp_path):
    config = tmp_path / "egress.json"
    config.write_text(json.dumps(OPERATOR))
    options = ("--egress-config", config)
    assert check(tmp_path, POLICY, "10.1.2.3", options=options).returncode == 0
    closed = check(tmp_path, POLICY, "closed.test", options=options)
    assert closed.returncode == 1 and "ceiling" in closed.stdout
    narrow = {"secrets": {"K": {"ref": "held"}}}
    options += ("--policy", "narrow")
    assert "secret K" in check(tmp_path, narrow, "api.test", options=options).stdout
    assert check(tmp_path, narrow, "api.test:80", options=options).returncode == 1
    assert check(tmp_path, narrow, options=(*options[:3], "wide")).returncode == 2


@pytest.mark.parametrize("policy, told", [
    ("{", "JSON"), ("[]", "object"), ({"allow": []}, "allow"),
    ({"secrets": {"K": {"hosts": [], "value": VALUE}}}, "K"),
    ({"allowNet": ["a.*"]}, "a.*"), ('{"allowNet":[],"allowNet":[]}', "repeated"),
])
def test_faults_are_two(tmp_path, policy, told):
    done = check(tmp_path, policy, "api.test")
    assert done.returncode == 2 and told in done.stderr


def test_standard_input(tmp_path):
    done = subprocess.run([build_dir() / "casemate", "policy", "check", "-", "api.test"],
                          input=json.dumps(POLICY), capture_output=True, text=True, timeout=10,
                          check=False)
    assert done.returncode == 0
