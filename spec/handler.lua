-- handler.lua: busted's plain output, and the counts for spec/run.
--
-- busted counts an error in `after_each` beside its test, which it has called
-- a success by then. Here that test has failed: each test counts once.
local busted = require "busted"

return function(options)
    local handler = require "busted.outputHandlers.plainTerminal"(options)
    local counts = { success = 0, failure = 0, pending = 0 }
    local last

    busted.subscribe({ "test", "end" }, function(_, _, status)
        last = status == "error" and "failure" or status
        counts[last] = counts[last] + 1
        return nil, true
    end)

    busted.subscribe({ "error" }, function(element)
        if element.descriptor == "after_each" and last then
            counts[last] = counts[last] - 1
            last = "failure"
            counts.failure = counts.failure + 1
        elseif element.descriptor ~= "it" then
            counts.failure = counts.failure + 1
        end
        return nil, true
    end)

    busted.subscribe({ "exit" }, function()
        local path = os.getenv "LUAMP_COUNTS"
        if path then
            local file <close> = assert(io.open(path, "a"))
            file:write(("%d %d %d\n"):format(counts.success, counts.failure, counts.pending))
        end
        return nil, true
    end)

    return handler
end
