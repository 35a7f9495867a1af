-- mutants_spec.lua: what the list of deliberately broken builds says of the sources.
local helper = require "spec.helper"

local function check(options)
    return helper.run(helper.host .. " spec/mutate --check 2>&1", options)
end

describe("each broken build", function()
    it("has its place in the sources", function()
        assert.same({ status = 0, stderr = "", stdout = "" }, check())
    end)

    local function copy_of_the_tree()
        local tree = helper.tmpdir()
        helper.run(("cp -r spec src bin scripts bench CMakeLists.txt cmake setup '%s'"):format(tree))
        return tree
    end

    it("that has none is told", function()
        local tree = copy_of_the_tree()
        local path = tree .. "/src/engine/deadlock.c"
        helper.write(path, (helper.read(path):gsub("return m%->wait_verb == REAPED", "return REAPED == m->wait_verb")))
        local run = check { cwd = tree }
        assert.equal("who was killed at its birth holds the report up: its text is not in src/engine/deadlock.c\n",
            run.stdout)
        assert.equal(1, run.status)
    end)

    it("that names no tests, or what is not known, is told", function()
        local tree = copy_of_the_tree()
        helper.write(tree .. "/spec/mutants/bad.lua", [[return {
            { name = "one", file = "setup", from = "set -u", to = "", spec = "spec/setup_spec.lua" },
            { name = "two", file = "setup", from = "set -u", to = "", spec = "spec/none_spec.lua", filter = "." },
            { name = "three", file = "setup", from = "set -u", to = "", command = "true", limits = 5 },
        }]])
        local run = check { cwd = tree }
        assert.equal("one: it names no tests\ntwo: there is no spec/none_spec.lua\nthree: its limits is a number\n",
            run.stdout)
        assert.equal(1, run.status)
    end)
end)
