-- launcher.lua: scripts as a job of several ranks, for the specs of clusters.
--
-- The ranks are processes of this machine, under mpirun of Open MPI, so each is a "host" of that name. mpirun writes
-- its files into the test's folder.
local helper = require "spec.helper"
local lfs = require "lfs"

local launcher = {}

launcher.plugin = os.getenv "LUAMP_BUILD" .. "/luamp_mpi.so"
launcher.root = lfs.currentdir()

-- Whether there is what a job needs, and a word for what is missing. Only luamp itself can be a rank.
function launcher.missing()
    if helper.host ~= helper.luamp then return "luamp itself is what a launcher starts" end
    if helper.run("command -v mpirun").status ~= 0 then return "needs mpirun" end
    if not lfs.attributes(launcher.plugin) then return "was built without Open MPI" end
    if helper.sanitized then return "an MPI is no matter of a sanitizer" end
end

-- `it`, for what needs a launcher.
function launcher.it(what, test)
    it(what, function()
        local missing = launcher.missing()
        if missing then return pending(missing) end
        test()
    end)
end

-- The environment of a job, and what is given.
function launcher.environment(given)
    local env = { OMPI_ALLOW_RUN_AS_ROOT = "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = "1",
        OMPI_MCA_rmaps_base_oversubscribe = "1", TMPDIR = helper.tmpdir(), LUAMP_CPUS = "2" }
    for name, value in pairs(given or {}) do env[name] = value end
    return env
end

-- Runs the text of a script (with `mp`) as a job. Options: n ranks (3), launcher (the program: "mpirun"), options of
-- it, env, arguments of the script, host: the program of the ranks. Returns as helper.run.
function launcher.run(text, options)
    options = options or {}
    local script = options.path or helper.script(text)
    local command = ("timeout -k 2 %d %s %s -n %d %s %s %s"):format(options.limit or 60,
        options.launcher or "mpirun", options.options or "--oversubscribe --bind-to none", options.n or 3,
        options.host or helper.host, script, options.arguments or "")
    return helper.run(command, { env = launcher.environment(options.env), cwd = options.cwd })
end

-- What the script prints as a job; it must end well.
function launcher.printed(text, options)
    local result = launcher.run(text, options)
    assert.same({ 0, "" }, { result.status, result.stderr })
    return result.stdout
end

function launcher.prints(expected, text, options)
    assert.equal(expected, launcher.printed(text, options))
end

-- The same by luamp-mpirun.
function launcher.watched(text, options)
    options = options or {}
    options.launcher = helper.host .. " " .. launcher.root .. "/bin/luamp-mpirun"
    return launcher.run(text, options)
end

return launcher
