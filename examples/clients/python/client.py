#!/usr/bin/env python3
"""A lock client for lockaudit in Python, with nothing but the standard library.

The lock is the usual one of Redis: SET key value NX PX ttl, and compare-and-delete by
EVAL. The protected resource is an HTTP one. docs/clients.md walks through this file:
replace the class RedisLock by your own library, and keep the rest.
"""

import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

CALL = 2.0  # seconds for one answer; what comes later counts as unknown


class Fail(Exception):
    """It certainly did not happen. Everything else that is raised becomes info."""

    def __init__(self, code, words):
        super().__init__(words)
        self.code = code  # held, lost, stale or refused


class RedisError(Exception):
    """An answer of Redis that says: not done."""


def redis(address, auth, *command):
    """Sends one command on a connection of its own, and never sends it again."""
    with socket.create_connection(address, timeout=CALL) as s, s.makefile("rb") as answers:
        for words in ([auth] if auth else []) + [command]:
            parts = [str(w).encode() for w in words]
            s.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            answer = reply(answers)
        return answer


def reply(answers):
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("Redis closed the connection before its answer")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b"$":
        return None if rest == b"-1" else answers.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [reply(answers) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest.decode()


class RedisLock:
    """The library under audit: this is what you replace by your own."""

    RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
    RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end"

    def __init__(self, lock):
        if len(lock["endpoints"]) != 1 or lock.get("tls") or lock.get("options"):
            raise Fail("refused", "one endpoint, no tls and no options: this client knows no others")
        host, _, port = lock["endpoints"][0].rpartition(":")
        self.address = (host.strip("[]"), int(port))
        user, password = lock.get("username"), lock.get("password")
        self.auth = ["AUTH"] + [w for w in (user, password) if w] if password else None
        self.do("PING")  # an address that does not answer is better known now

    def do(self, *command):
        try:
            return redis(self.address, self.auth, *command)
        except RedisError as e:
            raise Fail("refused", f"redis: {e}") from e

    def acquire(self, key, ttl_ms, deadline, cancelled):
        """Returns a token, or raises Fail("held"). A try whose end is unknown is the last one."""
        token = secrets.token_hex(16)
        while self.do("SET", key, token, "NX", "PX", ttl_ms) != "OK":
            if time.monotonic() >= deadline or cancelled.wait(0.05):
                raise Fail("held", f"acquire {key}: another client has it")
        return token

    def renew(self, key, token, ttl_ms):
        if self.do("EVAL", self.RENEW, 1, key, token, ttl_ms) != 1:
            raise Fail("lost", f"renew {key}: no longer held")

    def release(self, key, token):
        if self.do("EVAL", self.RELEASE, 1, key, token) != 1:
            raise Fail("lost", f"release {key}: no longer held")

    def observe(self, key):
        value = self.do("GET", key)
        left = self.do("PTTL", key)
        if value is None or left == -2:
            return {"held": False}
        return {"held": True, "id": value, "left_ms": max(left, 0)}


class HTTPResource:
    """What the lock protects: POST and GET, the token in a header."""

    def __init__(self, resource):
        if resource["kind"] != "http":
            raise Fail("refused", "resource.kind: only http is known here")
        self.url, self.header = resource["url"], resource.get("token_header")

    def send(self, row, body=None, token=""):
        request = urllib.request.Request(self.url.replace("{row}", urllib.parse.quote(row)), data=body)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if token and self.header:
            request.add_header(self.header, token)
        try:
            with urllib.request.urlopen(request, timeout=CALL) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            if e.code == 404 and body is None:
                return {}  # never written
            if e.code in (409, 412):
                raise Fail("stale", f"write {row}: status {e.code}") from e
            if 400 <= e.code < 500 and e.code != 408:
                raise Fail("refused", f"write {row}: status {e.code}") from e
            raise  # 5xx: it may have been written

    def write(self, row, token, value, op_id):
        return self.send(row, json.dumps({"value": value, "op_id": op_id}).encode(), token).get("seq", 0)

    def read(self, row):
        found = self.send(row)
        answer = {k: found[k] for k in ("value", "seq") if k in found}
        if found.get("token"):
            answer["token"] = {"id": found["token"]}
        return answer


class Client:
    """The protocol: one JSON object a line on stdin, one a line on stdout."""

    def __init__(self):
        self.lock = self.resource = None
        self.held = {}  # key → (token, ttl_ms): what this client believes that it holds
        self.cancels = {}  # id → Event
        self.out = queue.SimpleQueue()

    def init(self, r, _):
        if r.get("version") != 1:
            raise Fail("refused", "only version 1 is spoken")
        self.lock = RedisLock(r["lock"])
        self.resource = HTTPResource(r["resource"]) if r.get("resource") else None
        return {"version": 1, "name": "python example", "capabilities": ["renew", "owner-check", "observe"]}

    def acquire(self, r, cancelled):
        deadline = time.monotonic() + r.get("wait_ms", 0) / 1000
        token = self.lock.acquire(r["key"], r["ttl_ms"], deadline, cancelled)
        self.held[r["key"]] = (token, r["ttl_ms"])
        return {"token": {"id": token}, "ttl_ms": r["ttl_ms"]}

    def hold(self, r):
        mine = self.held.get(r["key"], ("", 0))
        return ((r.get("token") or {}).get("id") or mine[0], mine[1])

    def forget(self, key, token):
        if self.held.get(key, ("",))[0] == token:
            del self.held[key]

    def renew(self, r, _):
        token, ttl = self.hold(r)
        if not ttl:
            raise Fail("lost", f"renew {r['key']}: not held here")
        try:
            self.lock.renew(r["key"], token, ttl)
        except Fail:
            self.forget(r["key"], token)
            raise
        return {"ttl_ms": ttl}

    def release(self, r, _):
        token, _ttl = self.hold(r)
        mine = self.held.get(r["key"], ("",))[0]
        self.forget(r["key"], token)  # whoever asks to release acts as the holder no more
        if not token or token != mine:
            raise Fail("lost", f"release {r['key']}: not held here")
        self.lock.release(r["key"], token)
        return {}

    def status(self, r, _):
        return {"holding": r["key"] in self.held}  # its own belief, without asking anybody

    def write(self, r, _):
        if not self.resource:
            raise Fail("refused", "init named no resource")
        token = r.get("token") or {}
        wire = r.get("raw_token") or token.get("order") or token.get("id") or ""
        return {"seq": self.resource.write(r["row"], wire, r.get("value", ""), r.get("op_id", ""))}

    def read(self, r, _):
        if not self.resource:
            raise Fail("refused", "init named no resource")
        return self.resource.read(r["row"])

    def observe(self, r, _):
        return {"holder": self.lock.observe(r["key"])}

    OPS = {"init": init, "acquire": acquire, "renew": renew, "release": release, "status": status,
           "write": write, "read": read, "observe": observe}

    def answer(self, r, cancelled):
        """Every request gets exactly one of ok, fail and info. When in doubt, info."""
        m = {"id": r["id"]}
        try:
            if r["op"] not in self.OPS or (self.lock is None and r["op"] != "init"):
                raise Fail("refused", f"op {r['op']}: unknown, or before init")
            m["ok"] = self.OPS[r["op"]](self, r, cancelled)
        except Fail as e:
            m["fail"] = {"code": e.code, "err": str(e)}
        except Exception as e:  # timeout, broken connection, a bug: nobody knows
            m["info"] = {"err": f"{r['op']}: {type(e).__name__}: {e}"}
        self.cancels.pop(r["id"], None)
        self.out.put(m)

    def speak(self):
        """The only one that writes to stdout, one whole line at a time."""
        while True:
            m = self.out.get()
            m["at_ns"] = time.monotonic_ns()
            sys.stdout.write(json.dumps(m) + "\n")
            sys.stdout.flush()

    def listen(self):
        threading.Thread(target=self.speak, daemon=True).start()
        for line in sys.stdin:
            r = json.loads(line)
            if r["op"] == "cancel":
                if event := self.cancels.get(r.get("target")):
                    event.set()
                self.out.put({"id": r["id"], "ok": {}})
                continue
            event = self.cancels[r["id"]] = threading.Event()
            if r["op"] == "init":
                self.answer(r, event)  # nothing may overtake it
                continue
            threading.Thread(target=self.answer, args=(r, event), daemon=True).start()


if __name__ == "__main__":
    print("lock client starts", file=sys.stderr)  # stderr is the log
    Client().listen()
    os._exit(0)  # stdin has ended: leave at once, and release nothing
