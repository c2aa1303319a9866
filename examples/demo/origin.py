# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server that stands for a third-party API: answers every request, and writes what it received,
one JSON object a line, to DIR/requests.jsonl. `/echo` sends the request's head back, which is what a
careless API may do.

Usage: origin.py DIR   (reads DIR/server.pem and DIR/server.key; writes DIR/port)
"""

import http.server
import json
import pathlib
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    record: pathlib.Path

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size).decode("latin-1")
        with self.record.open("a") as out:
            print(json.dumps({"path": self.path, "headers": dict(self.headers), "body": body}),
                  file=out, flush=True)
        if self.path.startswith("/echo"):
            answer = str(self.headers).encode()
        else:
            answer = b'{"model": "demo", "answer": "It is 42."}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_) -> None:
        pass


def main(folder: pathlib.Path) -> None:
    Handler.record = folder / "requests.jsonl"
    Handler.record.touch()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = folder / "port.new"
    port.write_text(str(server.server_port))
    port.rename(folder / "port")
    server.serve_forever()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
