import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = 200
        if self.path.startswith("/status/"):
            status = int(self.path[8:])
        if self.path.startswith("/env/"):
            body = os.environ.get(self.path[5:], "(unset)")
        else:
            body = "Hello, world"
        body = f"{body}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    # The default of 5 drops connections of a load test in the kernel.
    request_queue_size = 128


print("hello is listening")
Server(("", int(os.environ["PORT"])), Hello).serve_forever()
