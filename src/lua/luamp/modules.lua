-- luamp.modules: which of the loaded modules an interpreter with the same paths can require.
--
-- names.c keeps what was found, by which it tells modules that a script made by hand from
-- those with a file. Looking costs system calls, so it is done once for a module and when
-- the paths have changed; by image.lua before a start, and by the codec when a function of a
-- module is met of which that is not known.

local core = require "luamp.core"
local package = require "package"

local loaded = debug.getregistry()._LOADED
local searchpath = package.searchpath

local standard = { _G = true, package = true, coroutine = true, table = true, io = true, os = true,
    string = true, math = true, utf8 = true, debug = true }

-- Whether the module's file is found; in another folder a relative path leads elsewhere.
local function is_on(path, name, moves)
    local file = type(path) == "string" and searchpath(name, path)
    return (file and (not moves or file:find "^/" ~= nil)) or false
end

local function can_be_required(name, moves)
    if standard[name] or name == "luamp" or name:find "^luamp%." then return true end
    local root = name:match "^[^.]*"
    return is_on(package.path, name, moves) or is_on(package.cpath, name, moves)
        or (root ~= name and is_on(package.cpath, root, moves))
end

-- Brings the set up to date: whether it was found, by name. In front stand the table of the paths,
-- and of each its name there and what it was, which names.c compares.
--
-- `moves`: they are to be found from another folder.
return function(moves)
    local found = core.found_modules()
    moves = moves or false
    if found[1] ~= package or found[3] ~= package.path or found[5] ~= package.cpath or found[6] ~= moves then
        for name in next, found do found[name] = nil end
        found[1], found[2], found[3], found[4], found[5] = package, "path", package.path, "cpath", package.cpath
        found[6] = moves
    end
    for name in next, loaded do
        if type(name) == "string" and found[name] == nil then found[name] = can_be_required(name, moves) end
    end
end
