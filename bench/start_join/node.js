// node.js COUNT: the mean time from making a worker thread, node's cheapest
// unit of its own, to its exit, in seconds.
const { Worker } = require("worker_threads");

const WARM_UP = 2;

function startJoin() {
  return new Promise((resolve, reject) => {
    const worker = new Worker("", { eval: true });
    worker.on("error", reject);
    worker.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`exit code ${code}`))));
  });
}

async function main(count) {
  for (let i = 0; i < WARM_UP; i++) await startJoin();
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) await startJoin();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  console.log((seconds / count).toFixed(9));
}

main(Number(process.argv[2]));
