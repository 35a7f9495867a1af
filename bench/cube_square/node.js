// The example of two units that print, as worker threads.
const { Worker, isMainThread, workerData } = require("worker_threads");

const functions = {
  cube: (n) => console.log("Cube:", n * n * n),
  square: (n) => console.log("Square:", n * n),
};

function run(name, n) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { name, n } });
    worker.on("error", reject);
    worker.on("exit", resolve);
  });
}

if (isMainThread) Promise.all([run("cube", 10), run("square", 10)]).then(() => console.log("DONE"));
else functions[workerData.name](workerData.n);
