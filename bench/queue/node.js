// node.js KIND COUNT: the mean time, in seconds, of passing one by postMessage from a worker
// thread to the main one: an integer (`each`), a list of a thousand of them of which each
// counts (`many`), a string of 1 MiB (`strings`), an integer there and back (`trip`).
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");

const BATCH = 1000;

const send = {
  each(n) {
    for (let i = 0; i < n; i++) parentPort.postMessage(i);
  },
  many(n) {
    const list = Array.from({ length: BATCH }, (_, i) => i);
    for (let i = 0; i < n / BATCH; i++) parentPort.postMessage(list);
  },
  strings(n) {
    const string = "x".repeat(1 << 20);
    for (let i = 0; i < n; i++) parentPort.postMessage(string);
  },
};

function seconds() {
  return Number(process.hrtime.bigint()) / 1e9;
}

function once(worker) {
  return new Promise((resolve) => worker.once("message", resolve));
}

async function receive(worker, kind, n) {
  const messages = kind === "many" ? n / BATCH : n;
  await new Promise((resolve) => {
    let left = messages;
    const count = () => {
      if (--left > 0) return;
      worker.off("message", count);
      resolve();
    };
    worker.on("message", count);
    worker.postMessage(n);
  });
}

async function trip(worker, n) {
  for (let i = 0; i < n; i++) {
    worker.postMessage(i);
    await once(worker);
  }
}

async function main(kind, count) {
  const worker = new Worker(__filename, { workerData: kind });
  const run = kind === "trip" ? trip : (w, n) => receive(w, kind, n);
  const unit = kind === "many" ? BATCH : 1;
  const whole = Math.max(unit, count - (count % unit));
  await run(worker, Math.max(unit, Math.floor(whole / 10 / unit) * unit));
  const start = seconds();
  await run(worker, whole);
  console.log(((seconds() - start) / whole).toFixed(12));
  await worker.terminate();
}

if (isMainThread) main(process.argv[2], Number(process.argv[3]));
else if (workerData === "trip") parentPort.on("message", (i) => parentPort.postMessage(i));
else parentPort.on("message", send[workerData]);
