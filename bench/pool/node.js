// node.js KIND WORKERS COUNT: the mean time, in seconds, of one of what so many worker threads
// do, as luamp.lua's kinds say. node has no pool: what keeps the workers busy is written here,
// for `map1` with 64 messages on their way to each, for `map` with Python's chunks.
const { Worker, isMainThread, parentPort } = require("worker_threads");

const IN_FLIGHT = 64;

function seconds() {
  return Number(process.hrtime.bigint()) / 1e9;
}

class Pool {
  constructor(nWorkers) {
    this.workers = Array.from({ length: nWorkers }, () => new Worker(__filename));
    this.waiting = new Map();
    for (const worker of this.workers) {
      worker.on("message", ([index, result]) => {
        const resolve = this.waiting.get(index);
        this.waiting.delete(index);
        resolve(result);
      });
    }
  }

  post(worker, index, message) {
    return new Promise((resolve) => {
      this.waiting.set(index, resolve);
      worker.postMessage([index, message]);
    });
  }

  close() {
    return Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

const kinds = {
  async map(pool, items) {
    const size = Math.ceil(items.length / (4 * pool.workers.length));
    const chunks = [];
    for (let i = 0; i < items.length; i += size) chunks.push(items.slice(i, i + size));
    const next = (chunk, i) => pool.post(pool.workers[i % pool.workers.length], i, chunk);
    return (await Promise.all(chunks.map(next))).flat();
  },

  // Without a promise for each, which would double its time.
  map1(pool, items) {
    const results = new Array(items.length);
    let next = 0;
    let done = 0;
    const give = (worker) => {
      if (next < items.length) worker.postMessage([next, items[next++]]);
    };
    return new Promise((resolve) => {
      for (const worker of pool.workers) {
        worker.removeAllListeners("message");
        worker.on("message", ([index, result]) => {
          results[index] = result;
          if (++done === items.length) resolve(results);
          else give(worker);
        });
      }
      for (let i = 0; i < IN_FLIGHT; i++) pool.workers.forEach(give);
    });
  },

  submit(pool, items) {
    return Promise.all(items.map((item, i) => pool.post(pool.workers[i % pool.workers.length], i, item)));
  },

  async apply(pool, items) {
    const results = [];
    for (const item of items) results.push(await pool.post(pool.workers[item % pool.workers.length], item, item));
    return results;
  },
};

kinds.kib = kinds.mib = kinds.map;

function make(kind, n) {
  const size = { kib: 1 << 10, mib: 1 << 20 }[kind];
  const number = (_, i) => i;
  const string = (_, i) => String(i).padStart(8, "0") + "x".repeat(size - 8);
  return Array.from({ length: n }, size ? string : number);
}

function check(items, results) {
  const last = items.length - 1;
  const expected = typeof items[last] === "string" ? items[last] : 2 * items[last];
  if (results.length !== items.length || results[last] !== expected) throw new Error("a wrong result");
}

async function timeOpen(nWorkers, count) {
  let start;
  for (let i = -1; i < count; i++) {
    if (i === 0) start = seconds();
    const pool = new Pool(nWorkers);
    await Promise.all(pool.workers.map((worker, k) => pool.post(worker, k, 0)));
    await pool.close();
  }
  return (seconds() - start) / count;
}

async function timeTasks(kind, nWorkers, count) {
  const pool = new Pool(nWorkers);
  const n = Math.min(count, kind === "submit" ? 20000 : 100000);
  const items = make(kind, n);
  await kinds[kind](pool, items.slice(0, Math.max(1, Math.floor(n / 10))));
  const start = seconds();
  for (let i = 0; i < Math.floor(count / n); i++) check(items, await kinds[kind](pool, items));
  const each = (seconds() - start) / (Math.floor(count / n) * n);
  await pool.close();
  return each;
}

async function main(kind, nWorkers, count) {
  const each = kind === "open" ? await timeOpen(nWorkers, count) : await timeTasks(kind, nWorkers, count);
  console.log(each.toFixed(12));
}

const twice = (x) => (typeof x === "number" ? 2 * x : x);
const work = ([index, x]) => parentPort.postMessage([index, Array.isArray(x) ? x.map(twice) : twice(x)]);

if (isMainThread) main(process.argv[2], Number(process.argv[3]), Number(process.argv[4]));
else parentPort.on("message", work);
