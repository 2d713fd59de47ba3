"use strict";

const { default: Redlock, ResourceLockedError } = require("redlock");
const Redis = require("ioredis");

const PATIENCE = 3000; // ms for one conversation with the ledger

// Stock is the number of pieces of one article. It lives in the ledger; whoever changes
// it holds the lock meanwhile.
class Stock {
  constructor(config, log) {
    this.config = config;
    const servers = config.redis.split(",").map((address) => {
      const [host, port] = address.split(":");
      const server = new Redis({ host, port: Number(port), connectionName: `inventory-${config.instance}` });
      server.on("error", (e) => log("redis", { reason: e.message }));
      return server;
    });
    this.redlock = new Redlock(servers, { retryCount: 0, automaticExtensionThreshold: 500 });
    this.redlock.on("error", (e) => {
      if (!(e instanceof ResourceLockedError)) log("redlock", { reason: e.message });
    });
  }

  get url() { return `${this.config.ledger}/inventory/${encodeURIComponent(this.config.sku)}`; }

  async read() {
    const answer = await fetch(this.url, { signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 404) return 0;
    if (!answer.ok) throw new Error(`ledger: status ${answer.status}`);
    return JSON.parse((await answer.json()).value).pieces;
  }

  async write(value, order) {
    const answer = await fetch(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ value: JSON.stringify({ ...value, by: this.config.instance }), op_id: order }),
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (!answer.ok) throw new Error(`ledger: status ${answer.status}`);
  }

  // change adds to the stock, step by step: read, modify, write. redlock renews the lock
  // while this runs; that it tells of a lost lock in its signal, nobody here looks at.
  change(by, order, tell) {
    return this.redlock.using([`inventory:${this.config.sku}`], this.config.ttl, async () => {
      tell("lock acquired", { order });
      let pieces = await this.read();
      for (const step of ["reserved", "picked", "packed", "labelled", "shipped"]) {
        if (step === "shipped") pieces += by;
        await this.write({ pieces, step }, `${order}-${step}`);
        tell(`order ${step}`, { order, pieces });
        if (step !== "shipped") await new Promise((resolve) => setTimeout(resolve, this.config.work / 4));
      }
      return pieces;
    });
  }
}

// taken: the lock is held by another instance, and nothing else went wrong.
async function taken(error) {
  if (!error.attempts?.length) return false;
  const { votesAgainst, quorumSize } = await error.attempts.at(-1);
  return [...votesAgainst.values()].filter((e) => e instanceof ResourceLockedError).length >= quorumSize;
}

module.exports = { Stock, taken };
