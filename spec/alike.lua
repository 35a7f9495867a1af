-- alike.lua: whether one graph of values is a copy of another: table for table and function for
-- function, with the same numbers to the bit, and shared where the other is shared.
--
-- Tables and functions that are keys can be told apart only by what else leads to them, so a
-- caller puts a list of all objects in front: { list, value... }. A key that nothing else leads
-- to is counted, and not looked into.

local getmetatable, upvalueid, getupvalue = debug.getmetatable, debug.upvalueid, debug.getupvalue

local function like_number(x, y)
    return math.type(x) == math.type(y) and string.pack("n", x) == string.pack("n", y)
end

local comparison = {}
comparison.__index = comparison

local is_object = { table = true, ["function"] = true }

-- Whether y may stand for x. Objects are looked into later.
function comparison:meet(x, y)
    if math.type(x) == "float" then return like_number(x, y) end
    if not is_object[type(x)] or self.is_same(x) then return rawequal(x, y) and math.type(x) == math.type(y) end
    if type(x) ~= type(y) then return false end
    if self.twin[x] == nil and self.back[y] == nil then
        self.twin[x], self.back[y] = y, x
        self.queue[#self.queue + 1] = x
        return not rawequal(x, y)
    end
    return rawequal(self.twin[x], y)
end

-- Upvalues are shared like objects: one for one.
function comparison:meet_upvalues(f, g)
    local i, name, value = 1, getupvalue(f, 1)
    while name do
        local a, b = upvalueid(f, i), upvalueid(g, i)
        local its_name, its_value = getupvalue(g, i)
        if self.twin[a] == nil and self.back[b] == nil then self.twin[a], self.back[b] = b, a end
        if its_name ~= name or self.twin[a] ~= b or not self:meet(value, its_value) then return false end
        i = i + 1
        name, value = getupvalue(f, i)
    end
    return getupvalue(g, i) == nil
end

function comparison:meet_functions(f, g)
    return debug.getinfo(g, "S").what ~= "C" and string.dump(f) == string.dump(g) and self:meet_upvalues(f, g)
end

function comparison:meet_tables(x, y)
    local n = 0
    for _ in next, y do n = n + 1 end
    for key, value in next, x do
        n = n - 1
        local its = key
        if is_object[type(key)] and not self.is_same(key) then its = self.twin[key] end
        if its ~= nil and not self:meet(value, rawget(y, its)) then return false end
    end
    return n == 0 and self:meet(getmetatable(x), getmetatable(y))
end

-- alike(x, y, is_same): is_same(object) says that it must be the same one on either side.
return function(x, y, is_same)
    local c = setmetatable({ twin = {}, back = {}, queue = {}, is_same = is_same }, comparison)
    if not c:meet(x, y) then return false end
    for i = 1, math.huge do
        local a = c.queue[i]
        if a == nil then return true end
        local compare = type(a) == "table" and c.meet_tables or c.meet_functions
        if not compare(c, a, c.twin[a]) then return false end
    end
end
