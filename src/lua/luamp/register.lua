-- luamp.register: names for objects that travel by them: mp.register(name, object).
--
-- What has a name is sent as that, and the receiver takes what it has registered
-- under it. So both sides call this, or one does before it starts the other.

local core = require "luamp.core"
local options = require "luamp.options"

local WHERE = "mp.register"
local misuse = options.misuse

local kinds = { table = true, ["function"] = true, userdata = true }

return function(name, object)
    if type(name) ~= "string" then
        misuse(WHERE, "expected a name, not %s", options.describe(name))
    elseif not kinds[type(object)] then
        misuse(WHERE, "'%s': expected a table, function or userdata, not %s", name, options.describe(object))
    elseif not core.register(name, object) then
        misuse(WHERE, "'%s' is the name of another object", name)
    end
    return object
end
