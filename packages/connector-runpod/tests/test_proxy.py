"""The proxy: a pod's http ports under one address, streaming both ways, 502 and 524 in between."""

from __future__ import annotations

import httpx2
import pytest

SERVER = """
import http.server, os, time
def wait():
    while not os.path.exists("go"):
        time.sleep(0.01)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(30)
        self.send_response(201); self.send_header("x-path", self.path); self.send_header("content-length", "2")
        self.end_headers(); self.wfile.write(b"ok")
    def do_PUT(self):
        size = 0
        while part := int(self.rfile.readline(), 16):
            self.rfile.read(part); self.rfile.readline(); size += part; print(size, flush=True)
        self.rfile.readline(); self.send_response(204); self.end_headers()
    def do_POST(self):
        self.send_response(200); self.send_header("transfer-encoding", "chunked"); self.end_headers()
        for part in b"one", b"two":
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part)); os.path.exists("go") or wait()
        self.wfile.write(b"0\\r\\n\\r\\n")
    def log_message(self, *details): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def pod(rent):
    """It serves HTTP on 8000."""
    return rent(entrypoint=["python", "-c"], cmd=[SERVER], env={"APP_PORT": "8000"}, ports=["8000/http", "22/tcp"])


@pytest.fixture
def server(sandbox, pod, eventually):
    """Its address at the proxy."""
    address = sandbox.credentials()["proxy_url"].format(pod_id=pod.id, port=8000)
    eventually(lambda: httpx2.get(f"{address}/").status_code == 201)
    return address


def test_path_query_status_and_headers_pass(server):
    """As they are, without a key: the proxy is public."""
    answer = httpx2.get(f"{server}/a%2Fb/c?x=1&x=2")
    assert (201, "/a%2Fb/c?x=1&x=2", "ok") == (answer.status_code, answer.headers["x-path"], answer.text)


def test_a_request_streams(server, pod, eventually):
    """Its first part is at the pod before the last one is sent."""

    def parts():
        yield b"a" * (1 << 20)  # the sandbox keeps so much before it passes anything on
        eventually(lambda: str(1 << 20) in pod.log.container_lines)
        yield b"b"

    assert 204 == httpx2.put(f"{server}/", content=parts(), timeout=15).status_code
    eventually(lambda: pod.log.container_lines[-1] == str((1 << 20) + 1))


def test_an_answer_streams(sandbox, server, pod):
    """Its first part is here before the pod writes the last one."""
    with httpx2.stream("POST", f"{server}/", timeout=15) as answer:
        chunks = answer.iter_raw()
        first = next(chunks)
        (sandbox.folder / "pods" / pod.id / "disk" / "go").touch()
        assert (b"one", [b"two"]) == (first, list(chunks))


def test_before_the_pod_listens_it_is_a_bad_gateway(sandbox, rent, api):
    """502 without JSON; also for a pod that is stopped."""
    pod = rent(ports=["8000/http"])
    address = f"{sandbox.url}/proxy/{pod.id}-8000/"
    assert 502 == httpx2.get(address).status_code
    api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"})
    answer = httpx2.get(address)
    assert (502, True) == (answer.status_code, answer.text.startswith("<html>"))


def test_an_answer_that_takes_too_long_is_cut_off(sandbox, server):
    """524, after a limit that tests make short."""
    sandbox.proxy.limit = 0.2
    assert 524 == httpx2.get(f"{server}/slow").status_code


def test_only_declared_http_ports_of_pods_that_exist_are_served(sandbox, rent):
    """404."""
    pod = rent(ports=["8000/http", "22/tcp"])
    for name in (f"{pod.id}-22", f"{pod.id}-9000", "nobody-8000"):
        assert 404 == httpx2.get(f"{sandbox.url}/proxy/{name}/").status_code


def test_tcp_ports_have_a_public_number(sandbox, api, rent, eventually):
    """In the pod's runtime and, for 22, in its SSH address; another one after each start."""
    script = "echo $RUNPOD_TCP_PORT_22; sleep 60"
    pod = rent(script, ports=["22/tcp", "8000/http"])
    (told,) = eventually(lambda: pod.log.container_lines)
    shown = api.get(f"/v2/pods/{pod.id}").json()
    assert {"private": 22, "public": int(told), "type": "tcp", "ip": "127.0.0.1"} == shown["runtime"]["ports"][0]
    assert f"ssh root@127.0.0.1 -p {told}" == shown["ssh"]["direct"]["command"]
    api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"})
    assert api.get(f"/v2/pods/{pod.id}").json()["ssh"]["direct"] is None
