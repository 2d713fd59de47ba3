"use strict";

const os = require("node:os");
const { parseArgs } = require("node:util");

// Each setting is a flag, and its default comes from the environment.
const settings = {
  redis: ["REDIS_ADDR", "127.0.0.1:6379"], // comma-separated; a majority of them decides
  ledger: ["LEDGER_URL", "http://127.0.0.1:8080/entries"],
  sku: ["SKU", "widget"],
  instance: ["INSTANCE", os.hostname()],
  listen: ["LISTEN", "8090"], // port of the API and /metrics
  ttl: ["LOCK_TTL_MS", "2000"],
  work: ["WORK_MS", "800"], // how long a shipment takes to prepare
  retry: ["RETRY_MS", "1000"], // how long to wait for a lock that another instance has
  "demo-orders": ["DEMO_ORDERS_MS", "0"], // place an order of one so often; 0: never
  "log-file": ["LOG_FILE", ""],
};

module.exports = function readConfig(argv) {
  const options = {};
  for (const [name, [variable, fallback]] of Object.entries(settings)) {
    options[name] = { type: "string", default: process.env[variable] ?? fallback };
  }
  const { values } = parseArgs({ args: argv, options });
  for (const name of ["listen", "ttl", "work", "retry", "demo-orders"]) {
    values[name] = Number(values[name]);
    if (!Number.isInteger(values[name]) || values[name] < 0) throw new Error(`--${name} is not a whole number`);
  }
  return values;
};
