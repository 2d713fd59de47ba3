// An inventory service. Several instances take orders; each order changes the stock in
// the ledger under a lock in Redis.
//
//	POST /orders {"pieces": n}   202; the stock is changed as soon as the lock is free
//	GET  /stock                  {"pieces": n}
//	GET  /metrics, /healthz
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const { randomUUID } = require("node:crypto");
const prometheus = require("prom-client");
const readConfig = require("./config.js");
const { Stock, taken } = require("./stock.js");

const config = readConfig(process.argv.slice(2));
const out = config["log-file"] ? fs.createWriteStream(config["log-file"], { flags: "a" }) : process.stderr;

function log(message, fields = {}) {
  const words = Object.entries(fields).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  out.write(`time=${new Date().toISOString()} msg=${JSON.stringify(message)} instance=${config.instance} ${words.join(" ")}\n`);
}

const locks = new prometheus.Counter({ name: "inventory_lock_total", help: "Attempts to get the lock by how they ended.", labelNames: ["outcome"] });
const orders = new prometheus.Counter({ name: "inventory_orders_total", help: "Orders by what became of them.", labelNames: ["outcome"] });

const stock = new Stock(config, log);
const queue = []; // orders that wait
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// work does one order after the other; one that could not be done waits and is tried again.
async function work() {
  for (;;) {
    if (queue.length === 0) {
      await pause(50);
      continue;
    }
    const order = queue[0];
    try {
      await stock.change(order.pieces, order.id, log);
      queue.shift();
      locks.inc({ outcome: "acquired" });
      orders.inc({ outcome: "done" });
    } catch (e) {
      if (await taken(e)) {
        locks.inc({ outcome: "held" });
        log("lock not acquired", { reason: "held by another instance" });
        await pause(config.retry * (1 + Math.random() / 4));
        continue;
      }
      queue.shift();
      orders.inc({ outcome: "failed" });
      log("order failed", { order: order.id, reason: e.message });
    }
  }
}

function place(pieces) {
  queue.push({ id: randomUUID(), pieces });
}

const server = http.createServer(async (request, response) => {
  try {
    if (request.method === "POST" && request.url === "/orders") {
      let text = "";
      for await (const part of request) text += part;
      const { pieces } = JSON.parse(text);
      if (!Number.isInteger(pieces)) throw new SyntaxError("pieces is not a whole number");
      place(pieces);
      response.writeHead(202).end();
    } else if (request.url === "/stock") {
      response.end(JSON.stringify({ pieces: await stock.read() }));
    } else if (request.url === "/metrics") {
      response.setHeader("Content-Type", prometheus.register.contentType);
      response.end(await prometheus.register.metrics());
    } else {
      response.writeHead(request.url === "/healthz" ? 200 : 404).end();
    }
  } catch (e) {
    response.writeHead(e instanceof SyntaxError ? 400 : 502).end(e.message);
  }
});

server.listen(config.listen, () => {
  log("inventory starts", { port: config.listen, ttl: config.ttl, work: config.work });
  if (config["demo-orders"] > 0) {
    setInterval(() => { if (queue.length < 3) place(1); }, config["demo-orders"]);
  }
  work();
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    log("inventory ends");
    out.end(() => process.exit(0));
  });
}
