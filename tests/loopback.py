"""A web server on this machine, for tests of downloads: it notes what it was asked, and can be made to misbehave."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What is served, what was asked, and how the server behaves.

    Attributes:
        files: Path to content.
        asked: (path, Range, If-Range, bytes sent) of each request.
        ranges: Whether it sends parts.
        marks: Whether it sends an ETag.
        lengths: Whether it says how long an answer is.
        breaks_after: Bytes after which it breaks off the next answer, once.
    """

    def __init__(self):
        self.files = {}
        self.asked = []
        self.ranges = self.marks = self.lengths = True
        self.breaks_after = None
        self.address = ""

    def url(self, path):
        return f"{self.address}/{path}"

    def answer(self, request):
        content = self.files.get(request.path.lstrip("/"))
        wanted, condition = request.headers.get("Range"), request.headers.get("If-Range")
        if content is None:
            self.asked.append((request.path, wanted, condition, 0))
            request.send_error(404)
            return
        mark = f'"{hashlib.md5(content).hexdigest()}"'
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if condition and condition != mark:
            begin = 0
        if begin and begin >= len(content):
            self.asked.append((request.path, wanted, condition, 0))
            request.send_error(416)
            return
        sent = content[begin:]
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if self.marks:
            request.send_header("ETag", mark)
        if self.lengths:
            request.send_header("Content-Length", str(len(sent)))
        request.end_headers()
        if self.breaks_after is not None:
            sent, self.breaks_after = sent[: self.breaks_after], None
        self.asked.append((request.path, wanted, condition, len(sent)))
        request.wfile.write(sent)
        request.close_connection = True


@contextmanager
def serving():
    """Run a server until the end of a `with`."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        server.address = f"http://127.0.0.1:{running.server_port}"
        try:
            yield server
        finally:
            running.shutdown()
            thread.join()
