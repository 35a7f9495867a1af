-- cluster_jobs_spec.lua: the specs of pools as jobs of three ranks: what holds on one host holds on several.
--
-- Each file runs whole, as a script under mpirun. A test that means nothing there says so (helper.needs_one_host), and
-- is skipped with its reason: so many of each file, so that none is skipped unnoticed. The daily run takes a few files.
local helper = require "spec.helper"
local launcher = require "spec.launcher"

-- Of each file: how many tests are skipped as a job.
local daily = { futures = 5, pool_apply = 3, pool_ends = 0, pool_left = 7, pool_limits = 0 }
local rest = { advice = 3, future = 17, journal = 0, journal_file = 0, pool = 7, pool_batches = 6, pool_calls = 18,
    pool_examples = 0, pool_inputs = 3, pool_life = 13, pool_orphans = 0, pool_spoils = 0, pool_submit = 9,
    pool_tasks = 15, pool_volume = 0, progress = 0, progress_figures = 0, random = 0, statistics = 1 }

local function passes_as_a_job(name, n_skipped)
    local result = helper.run(("timeout -k 2 280 spec/run spec/%s_spec.lua"):format(name), {
        cwd = launcher.root, env = launcher.environment {
            LUAMP_LAUNCHER = "mpirun --oversubscribe --bind-to none -np 3",
            LUAMP_RESULTS = false, LUAMP_NAME = false } })
    assert.matches("[1-9]%d* passed, 0 failed[^\n]*\n$", result.stdout)
    assert.equal(n_skipped, tonumber(result.stdout:match "(%d+) skipped\n$" or 0))
end

describe("as a job of three ranks passes the spec", function()
    for name, n_skipped in pairs(daily) do
        launcher.it(name, function() passes_as_a_job(name, n_skipped) end)
    end

    for name, n_skipped in pairs(rest) do
        launcher.it(name, function()
            if not helper.is_everything then return pending "takes long: LUAMP_TESTS=all has it" end
            passes_as_a_job(name, n_skipped)
        end)
    end
end)
