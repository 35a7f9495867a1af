-- check.lua: what the fuzzer demands of the values of a message from outside, in its state.
--
-- They are plain data, they can be sent, and what comes then is a copy of them.
local encode, frame, decode = ...
local alike = require "spec.alike"

local error_meta = debug.getregistry()["luamp.error"]
local plain = { ["nil"] = true, boolean = true, number = true, string = true, table = true }

local function is_error_meta(object)
    return rawequal(object, error_meta)
end

-- All tables that the values lead to, each of which must be one that data may have.
local function tables_of(values)
    local list, seen = {}, {}
    local function meet(value)
        assert(plain[type(value)], type(value))
        if type(value) == "table" and not seen[value] then
            seen[value] = true
            list[#list + 1] = value
        end
    end
    for i = 1, values.n do meet(values[i]) end
    for _, t in ipairs(list) do
        local meta = debug.getmetatable(t)
        if not is_error_meta(meta) then
            meet(meta)
            assert(not meta or rawget(meta, "__gc") == nil and rawget(meta, "__close") == nil, "a finalizer")
        end
        for key, value in next, t do
            meet(key)
            meet(value)
        end
    end
    return list
end

local function comes_back(...)
    local message, culprit = encode(...)
    assert(message, culprit)
    assert(alike(table.pack(...), table.pack(decode(frame(message))), is_error_meta), "another value came back")
end

local n_globals, n_modules = 0, 0
for _ in pairs(_G) do n_globals = n_globals + 1 end
for _ in pairs(package.loaded) do n_modules = n_modules + 1 end

local function nothing_is_new()
    local globals, modules = n_globals, n_modules
    for _ in next, _G do globals = globals - 1 end
    for _ in next, package.loaded do modules = modules - 1 end
    assert(globals == 0 and modules == 0, "a global or a module came in")
end

return function(...)
    local list = tables_of(table.pack(...))
    nothing_is_new()
    comes_back(...)
    comes_back(list, ...)
end
