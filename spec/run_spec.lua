-- run_spec.lua: the specs' own house. A spec that leaves something behind, or
-- whose run ends before its counts, or after them, cannot pass for a good one.
local helper = require "spec.helper"

-- Runs a spec of this text; returns its last line and all that it printed.
local function run(text)
    local command = "spec/run " .. helper.script(text)
    local result = helper.run(command, { env = { LUAMP_RESULTS = false, LUAMP_NAME = false } })
    local last = result.stdout:match "([^\n]*)\n$"
    assert.equal(last:find ", 0 failed" and 0 or 1, result.status)
    return last, result.stdout
end

describe("a run of a spec file", function()
    it("ends with its counts", function()
        assert.equal("2 passed, 0 failed", (run [[it("a", function() end) it("b", function() end)]]))
        assert.equal("1 passed, 0 failed, 1 skipped", (run [[it("a", function() end) pending "b"]]))
        assert.equal("1 passed, 1 failed", (run [[it("a", function() end) it("b", function() error "x" end)]]))
        assert.equal("0 passed, 1 failed", (run [[it("a", function()]]))
    end)

    it("has failed when it ends without its counts", function()
        assert.equal("0 passed, 1 failed", (run [[it("a", function() os.exit(0) end)]]))
        assert.equal("0 passed, 1 failed", (run [[it("a", function() os.execute "kill -KILL $PPID" end)]]))
    end)

    it("has failed when it dies after its counts", function()
        assert.equal("1 passed, 1 failed", (run [[
            last = setmetatable({}, { __gc = function() os.execute "kill -KILL $PPID" end })
            it("a", function() end)]]))
    end)

    it("has failed when it ends twice", function()
        local last, text = run [[
            local busted = require "busted"
            busted.subscribe({ "suite", "end" }, function() busted.publish { "exit" } return nil, true end)
            it("a", function() end)]]
        assert.equal("1 passed, 1 failed", last)
        assert.is_truthy(text:find("reported its counts 2 times", 1, true))
    end)

    it("has failed when a sanitizer wrote a report", function()
        assert.equal("1 passed, 1 failed", (run [[
            it("a", function() io.open(os.getenv "TMPDIR" .. "/../sanitizer.1", "w"):close() end)]]))
    end)
end)

describe("a test that leaves something behind has failed:", function()
    local cases = {
        ["a descriptor"] = { [[kept = io.open "/etc/passwd"]], "descriptor %d+ %(/etc/passwd%)" },
        ["a child"] = { [[kept = io.popen "exec sleep 60"]], "child %d+ %(running%)" },
        ["a zombie"] = {
            [[kept = io.popen "exec true"
            while kept:read(1) do end
            while require("spec.helper").alive(require("spec.helper").children()[1]) do end]],
            "child %d+ %(zombie%)",
        },
        ["shared memory"] = {
            [[require("spec.helper").write("/dev/shm/luamp-run-spec", "")]],
            "/dev/shm/ luamp%-run%-spec",
        },
        ["a file"] = { [[require("spec.helper").write(os.getenv "TMPDIR" .. "/left", "")]], "TMPDIR/ left" },
    }
    for what, case in pairs(cases) do
        it(what, function()
            local last, text = run(([[it("first", function() %s end) it("next", function() end)]]):format(case[1]))
            os.remove "/dev/shm/luamp-run-spec"
            assert.equal("1 passed, 1 failed", last)
            assert.is_truthy(text:find("'first' left behind: [^\n]*" .. case[2]), text)
        end)
    end

    it("but not what the helper made for it", function()
        assert.equal("1 passed, 0 failed", (run [[
            local helper = require "spec.helper"
            it("a", function()
                helper.write(helper.tmpdir() .. "/x", "")
                assert.equal("1\n", helper.run(helper.lua .. " " .. helper.script "print(1)").stdout)
            end)]]))
    end)
end)

describe("a command of the helper", function()
    it("tells its status as the shell does", function()
        assert.equal(3, helper.run("exit 3").status)
        assert.equal(137, helper.run("kill -KILL $$").status)
        assert.equal(143, helper.run("sh -c 'kill -TERM $$'; exit $?").status)
    end)

    it("has the streams, environment and folder that it is given", function()
        local options = { stdin = "in\n", env = { X = "a'b", HOME = false }, cwd = "/tmp" }
        local result = helper.run("echo $X ${HOME-none}; cat; pwd; echo e >&2", options)
        assert.same({ status = 0, stdout = "a'b none\nin\n/tmp\n", stderr = "e\n" }, result)
    end)
end)

describe("an expected error", function()
    it("is told by its text, a pattern, or its fields", function()
        helper.fails("plain (", error, "a plain ( text")
        helper.fails("^pat.*n$", error, "pattern", 0)
        helper.fails({ kind = "x" }, error, { kind = "x", more = 1 })
        assert.has_error(function() helper.fails("other", error, "text") end)
        assert.has_error(function() helper.fails({ kind = "x" }, error, { kind = "y" }) end)
        assert.has_error(function() helper.fails("text", function() end) end)
    end)
end)
