// A lock client for lockaudit in Node, on npm's redlock and ioredis. The protected
// resource is an HTTP one. docs/clients.md walks through the protocol: replace the class
// RedisLock by your own library, and keep the rest.
"use strict";

const readline = require("node:readline");
const { default: Redlock, ResourceLockedError } = require("redlock");
const Redis = require("ioredis");

const CALL = 1500; // ms for one answer of Redis; redlock asks twice in a failed attempt

// Fail: it certainly did not happen. Every other error becomes info.
class Fail extends Error {
  constructor(code, words) {
    super(words);
    this.code = code; // held, lost, stale or refused
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// said tells what a failed vote of redlock's means: true if a majority of the servers
// have answered "not yours", false if some did not answer or nobody knows.
async function said(error) {
  const attempts = error.attempts;
  if (!attempts) return false;
  if (attempts.length === 0) return true; // refused by redlock itself: already expired
  const last = await attempts[attempts.length - 1];
  const refusals = [...last.votesAgainst.values()].filter((e) => e instanceof ResourceLockedError);
  return refusals.length >= last.quorumSize;
}

// RedisLock is the library under audit: this is what you replace by your own.
class RedisLock {
  static async open(lock) {
    if (lock.tls || lock.options) throw new Fail("refused", "tls and options are not known to this client");
    const self = new RedisLock();
    self.servers = lock.endpoints.map((e) => {
      const u = new URL("redis://" + e);
      const server = new Redis({
        host: u.hostname.replace(/^\[|\]$/g, ""), port: Number(u.port),
        username: lock.username, password: lock.password,
        lazyConnect: true, connectTimeout: CALL, commandTimeout: CALL,
        // Never send a command again whose outcome is unknown.
        autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, enableOfflineQueue: false,
      });
      server.on("error", (e) => console.error("redis:", e.message));
      return server;
    });
    await Promise.all(self.servers.map((s) => s.connect()));
    self.redlock = new Redlock(self.servers, { retryCount: 0 });
    return self;
  }

  // acquire tries until the deadline. A try whose end is unknown is the last one.
  async acquire(key, ttl, deadline, cancelled) {
    for (;;) {
      try {
        return await this.redlock.acquire([key], ttl);
      } catch (e) {
        if (!(await said(e))) throw e;
      }
      if (Date.now() < deadline) await pause(50);
      if (Date.now() >= deadline || cancelled.aborted) throw new Fail("held", `acquire ${key}: another client has it`);
    }
  }

  // lost turns a definite refusal into its code.
  async lost(what, call) {
    try {
      return await call();
    } catch (e) {
      if (await said(e)) throw new Fail("lost", `${what}: no longer held`);
      throw e;
    }
  }

  renew(hold, ttl) { return this.lost("renew", () => hold.extend(ttl)); }
  release(hold) { return this.lost("release", () => hold.release()); }

  // observe: the key is held by the value that a majority of the servers have.
  async observe(key) {
    const seen = await Promise.all(this.servers.map(async (s) => ({ value: await s.get(key), left: await s.pttl(key) })));
    for (const { value } of seen) {
      const same = seen.filter((s) => s.value !== null && s.value === value && s.left !== -2);
      if (same.length > this.servers.length / 2) {
        return { held: true, id: value, left_ms: Math.max(0, Math.min(...same.map((s) => s.left))) };
      }
    }
    return { held: false };
  }
}

// HTTPResource is what the lock protects: POST and GET, the token in a header.
class HTTPResource {
  constructor(resource) {
    if (resource.kind !== "http") throw new Fail("refused", "resource.kind: only http is known here");
    this.resource = resource;
  }

  async send(row, method, token, body) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    if (token && this.resource.token_header) headers[this.resource.token_header] = token;
    const url = this.resource.url.replaceAll("{row}", row.split("/").map(encodeURIComponent).join("/"));
    const answer = await fetch(url, { method, headers, body, redirect: "manual", signal: AbortSignal.timeout(2000) });
    const status = answer.status;
    if (status === 404 && method === "GET") return {}; // never written
    if (status === 409 || status === 412) throw new Fail("stale", `write ${row}: status ${status}`);
    if (status >= 400 && status < 500 && status !== 408) throw new Fail("refused", `write ${row}: status ${status}`);
    if (!answer.ok) throw new Error(`write ${row}: status ${status}`); // it may have been written
    return answer.json();
  }
}

// Client is the protocol: one JSON object a line on stdin, one a line on stdout.
class Client {
  held = new Map(); // key → redlock's Lock: what this client believes that it holds
  cancels = new Map(); // id → AbortController

  async init(r) {
    if (r.version !== 1) throw new Fail("refused", "only version 1 is spoken");
    this.resource = r.resource ? new HTTPResource(r.resource) : null;
    this.lock = await RedisLock.open(r.lock);
    return { version: 1, name: "node redlock example", capabilities: ["renew", "owner-check", "observe"] };
  }

  async acquire(r, cancelled) {
    const hold = await this.lock.acquire(r.key, r.ttl_ms, Date.now() + (r.wait_ms ?? 0), cancelled);
    this.held.set(r.key, { hold, ttl: r.ttl_ms });
    return { token: { id: hold.value }, ttl_ms: r.ttl_ms };
  }

  // mine is the hold that a request names, if it is this client's.
  mine(r) {
    const mine = this.held.get(r.key);
    if (!mine || (r.token && r.token.id !== mine.hold.value)) throw new Fail("lost", `${r.op} ${r.key}: not held here`);
    return mine;
  }

  async renew(r) {
    const mine = this.mine(r);
    try {
      mine.hold = await this.lock.renew(mine.hold, mine.ttl);
    } catch (e) {
      if (e instanceof Fail) this.held.delete(r.key);
      throw e;
    }
    return { ttl_ms: mine.ttl };
  }

  async release(r) {
    const { hold } = this.mine(r);
    this.held.delete(r.key); // whoever asks to release acts as the holder no more
    await this.lock.release(hold);
    return {};
  }

  async status(r) { return { holding: this.held.has(r.key) }; } // its own belief, without asking anybody
  async observe(r) { return { holder: await this.lock.observe(r.key) }; }

  async write(r) {
    if (!this.resource) throw new Fail("refused", "init named no resource");
    const token = r.raw_token || r.token?.order || r.token?.id || "";
    const { seq } = await this.resource.send(r.row, "POST", token, JSON.stringify({ value: r.value ?? "", op_id: r.op_id ?? "" }));
    return { seq: seq ?? 0 };
  }

  async read(r) {
    if (!this.resource) throw new Fail("refused", "init named no resource");
    const { value, seq, token } = await this.resource.send(r.row, "GET");
    return { value, seq, token: token ? { id: token } : undefined };
  }

  // answer: every request gets exactly one of ok, fail and info. When in doubt, info.
  async answer(r) {
    const m = { id: r.id };
    const cancel = new AbortController();
    this.cancels.set(r.id, cancel);
    try {
      const ops = ["init", "acquire", "renew", "release", "status", "observe", "write", "read"];
      if (!ops.includes(r.op) || (!this.lock && r.op !== "init")) throw new Fail("refused", `op ${r.op}: unknown, or before init`);
      m.ok = await this[r.op](r, cancel.signal);
    } catch (e) {
      if (e instanceof Fail) m.fail = { code: e.code, err: e.message };
      else m.info = { err: `${r.op}: ${e.message}` }; // timeout, broken connection, a bug: nobody knows
    }
    this.cancels.delete(r.id);
    this.say(m);
  }

  say(m) { process.stdout.write(JSON.stringify({ ...m, at_ns: Number(process.hrtime.bigint()) }) + "\n"); }

  async listen() {
    console.error("lock client starts"); // stderr is the log; console.log would break the protocol
    for await (const line of readline.createInterface({ input: process.stdin })) {
      const r = JSON.parse(line);
      if (r.op === "cancel") {
        this.cancels.get(r.target)?.abort();
        this.say({ id: r.id, ok: {} });
      } else if (r.op === "init") {
        await this.answer(r); // nothing may overtake it
      } else {
        this.answer(r);
      }
    }
    process.exit(0); // stdin has ended: leave at once, and release nothing
  }
}

new Client().listen();
