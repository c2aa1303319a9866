# SPDX-License-Identifier: Apache-2.0
"""The egress bench: a network of its own, its resolver, recording origins, and one sandbox."""

import pytest
from egress_bench import (ALLOWED, EVIL, GOOD, GOOD6, NAMES, OTHER, PRIVATE, SECRETS, Box, Lab)
from harness import leaks
from harness.instance import Instance
from harness.lab import network
from harness.origin import Origin
from harness.resolver import Resolver

@pytest.fixture(scope="module")
def lab(request, leaks_before, authority, tmp_path_factory):
    with network(*(f"{a}/32" for a in (GOOD, EVIL, OTHER, *PRIVATE)), f"{GOOD6}/128") as net:
        resolver = Resolver()
        resolver.zone.update({name: (GOOD,) for name in NAMES})
        resolver.zone.update({"evil.test": (EVIL,), "pkg.test.evil.test": (EVIL,),
                              "tcp.test": (GOOD,)})
        web = authority.issue(*NAMES, f"IP:{GOOD}", f"IP:{GOOD6}", f"IP:{OTHER}", "*.pkg.test")
        ports = (443, 80, 8443, 8080)
        with net.internet():
            good = Origin(web, listen=tuple((a, p) for a in (GOOD, GOOD6, OTHER) for p in ports))
            evil = Origin(authority.issue("evil.test", "pkg.test.evil.test", *NAMES),
                          listen=tuple((EVIL, p) for p in ports))
            private = Origin(web, listen=tuple((a, p) for a in PRIVATE for p in (443, 80)))
            greeter = Origin(raw_greeting=b"READY tcp.test\n", listen=((GOOD, 5432), (GOOD, 5433)))
        own = ("127.0.0.1", "::1", net.NODE, net.NODE_SECOND, net.NODE6)
        node = Origin(web, listen=tuple((a, p) for a in own for p in (443, 80)))
        # A file may want its instance to know more.
        flags = getattr(request.module, "instance_flags", lambda folder: [])
        with Instance(tmp_path_factory.mktemp("state"), f"--egress-ca={authority.cert}",
                      *flags(tmp_path_factory.mktemp("flags"))) as instance:
            yield Lab(instance, net, resolver, authority, good, evil, private, node, greeter)
        for thing in (good, evil, private, node, greeter, resolver):
            thing.close()
    assert not leaks.since(leaks_before)


@pytest.fixture(scope="module")
def box(lab):
    made = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def fresh_records(lab):
    lab.forget()
