-- mutants_spec.lua: what the list of deliberately broken builds says of the sources.
local helper = require "spec.helper"

local function check(options)
    return helper.run(helper.host .. " spec/mutate --check 2>&1", options)
end

describe("each broken build", function()
    it("has its place in the sources", function()
        assert.same({ status = 0, stderr = "", stdout = "" }, check())
    end)

    it("that has none is told", function()
        local tree = helper.tmpdir()
        helper.run(("cp -r spec src scripts bench CMakeLists.txt cmake setup '%s'"):format(tree))
        local path = tree .. "/src/engine/deadlock.c"
        helper.write(path, (helper.read(path):gsub("return m%->wait_verb == REAPED", "return REAPED == m->wait_verb")))
        local run = check { cwd = tree }
        assert.equal("who was killed at its birth holds the report up: its text is not in src/engine/deadlock.c\n",
            run.stdout)
        assert.equal(1, run.status)
    end)
end)
