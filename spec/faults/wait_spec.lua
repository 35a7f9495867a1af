-- A signal that comes in the last moment before a wait begins ends it, as one that
-- comes in it: at the fault points of mp_sys_poll, which send it there.
local helper = require "spec.helper"

local handlers = {
    ["with a handler"] = [[mp.on_signal("TERM", function() error { kind = "interrupted" } end)]],
    ["without"] = "",
}

for point, moment in pairs { W1 = "before it begins", W2 = "while signals are held back for it" } do
    for what, set in pairs(handlers) do
        it(("a signal ends a wait that comes %s, %s"):format(moment, what), function()
            local result = helper.script_run(set .. [[
                local before = mp.clock()
                local ok, e = pcall(mp.sleep, 5)
                print(ok, e.kind, mp.clock() - before < 2)]], nil,
                { env = { LUAMP_FAULT = ("sys.poll.%s:1=15"):format(point) } })
            assert.same({ 0, "false\tinterrupted\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
        end)
    end
end
