-- layers_spec.lua: includes and requires go downward only.
local helper = require "spec.helper"
local lfs = require "lfs"

-- Lowest first: each includes and requires what stands before it, and itself. A room of
-- several parts is open to others by its first one.
local engine = {
    "sys", "frame", "store", "region", "heap", "lock", "budget", "page", "family", "name", "gate",
    { "arena", "guard", "spans", "hold" }, "watch", "deadlock", { "queue", "record", "priority" }, "pipe",
    { "cells", "bulk" }, "named", "mutex", "semaphore", "event", "change", "line", "rwlock", "barrier", "condition",
    "table", "value", { "dict", "edit", "stripe", "recency" }, "list", "times",
    { "board", "owner", "ends", "lane", "batch", "bell" },
    "footer", "link", "output", "relay", "usage", "keeper", "setup", "exec", "picture", "image", "proc", "start",
}
local modules = {
    "luamp.core", "luamp.options", "luamp.errors", "luamp.modules", "luamp.sending", "luamp.culprit", "luamp.cgroup",
    "luamp.cpu", "luamp.signals", "luamp.register", "luamp.streams", "luamp.process_options", "luamp.command",
    "luamp.life", "luamp.sharing", "luamp.arrays", "luamp.synchronising", "luamp.arrival", "luamp.image",
    "luamp.outcome", "luamp.log", "luamp.process", "luamp.future",
    "luamp.wait", "luamp.scope", "luamp.inputs", "luamp.relay", "luamp.worker", "luamp.statistics", "luamp.crew",
    "luamp.hosts", "luamp.host", "luamp.side", "luamp.placing", "luamp.cluster_figures", "luamp.cluster",
    "luamp.serial", "luamp.submit", "luamp.failures", "luamp.putting", "luamp.figures", "luamp.progress",
    "luamp.dispatch", "luamp.pool_options", "luamp.fingerprint", "luamp.journal_file", "luamp.recorder",
    "luamp.journal", "luamp.calls", "luamp.advice", "luamp.pool",
    "luamp",
}

-- These are at the bottom together: they know of nothing of ours but the core.
local independent = { ["luamp.options"] = true, ["luamp.errors"] = true }

-- The parts of the codec share what nobody else sees.
local codec = {}
for _, part in ipairs { "encoder", "exports", "names", "functions", "globals", "sending", "codec", "codec_lua",
    "decode", "decoder", "decode_functions", "glimpse" } do
    codec["src/binding/" .. part .. ".c"], codec["src/binding/" .. part .. ".h"] = true, true
end
local of_codec = {}
for _, part in ipairs { "exports", "wire", "encoder", "decoder" } do of_codec["binding/" .. part .. ".h"] = true end

-- So do the parts of a board's owner.
local of_board = { ["src/binding/board.c"] = true, ["src/binding/feed.c"] = true,
    ["src/binding/ends.c"] = true, ["src/binding/future.c"] = true, ["src/binding/bell.c"] = true,
    ["src/binding/statistics.c"] = true }

-- And those that keep values.
local of_values = { ["src/binding/values.c"] = true, ["src/binding/dict.c"] = true, ["src/binding/list.c"] = true }

local lua_headers = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true, ["luaconf.h"] = true }
local longest = 600

-- Where it stands, and which part of what stands there it is.
local function place(list, name)
    for i, entry in ipairs(list) do
        for part, its in ipairs(type(entry) == "table" and entry or { entry }) do
            if its == name then return i, part end
        end
    end
end

-- Whether the C file may include the header. Headers of the system are free to all.
local function may_include(file, header)
    local room = file:match "^src/engine/(%w+)%.[ch]$"
    if lua_headers[header] then
        return not room
    end
    local lower = header:match "^engine/(%w+)%.h$"
    if room then
        local mine = place(engine, room)
        local theirs, part = place(engine, lower)
        return mine ~= nil and theirs ~= nil and (theirs == mine or (theirs < mine and part == 1))
    elseif file:find "^src/binding/" then
        return lower and select(2, place(engine, lower)) == 1
            or header == "binding/lib.h"
            or header == "binding/shared.h"
            or header == "binding/codec.h"
            or header == "binding/board.h" and of_board[file]
            or header == "binding/acquiring.h"
            or header == "binding/values.h" and of_values[file]
            or header == "binding/names.h"
            or header == "luamp.h" and file == "src/binding/buffer.c" -- for C modules
            or of_codec[header] and codec[file]
    end
    return header == "binding/lib.h" or header == "console.h" or header == "init.h" or header == "cluster.h"
        or header == "mpi/agent.h" and (file == "src/cluster.c" or file == "src/mpi/agent.c")
end

-- Whether the Lua module may require the other one, which is ours.
local function may_require(module, other)
    local mine, theirs = place(modules, module), place(modules, other)
    if independent[module] then
        return other == "luamp.core"
    end
    return mine ~= nil and theirs ~= nil and theirs < mine
end

-- The forbidden lines of a file, given its text.
local function refused(file, text)
    local found = {}
    local module = file:match "^src/lua/(.*)%.lua$"
    if module then
        module = module:gsub("/init$", ""):gsub("/", ".")
        for other in text:gsub("%-%-[^\n]*", ""):gmatch "require%s*%(?%s*[\"']([^\"']+)" do
            if other:find "^luamp" and not may_require(module, other) then
                table.insert(found, module .. " requires " .. other)
            end
        end
    else
        for quote, header in text:gmatch "#%s*include%s*([\"<])([^\">]+)" do
            if (quote == '"' or lua_headers[header]) and not may_include(file, header) then
                table.insert(found, file .. " includes " .. header)
            end
        end
    end
    return found
end

-- The paths of all files under a folder whose names match.
local function files(folder, pattern, found)
    found = found or {}
    for name in lfs.dir(folder) do
        local path = folder .. "/" .. name
        if name:find "^%." then
            goto continue
        elseif lfs.attributes(path, "mode") == "directory" then
            files(path, pattern, found)
        elseif name:find(pattern) then
            table.insert(found, path)
        end
        ::continue::
    end
    return found
end

-- The functions that a header promises: prototypes begin at the line's start.
local function promised(text)
    local found = {}
    text = text:gsub("/%*.-%*/", "")
    for line in text:gmatch "[^\n]+" do
        if line:find "^[%a_]" and not line:find "^typedef" then
            table.insert(found, line:match "([%w_]+)%(")
        end
    end
    return found
end

describe("the layers", function()
    it("hold in C", function()
        local sources = files("src", "%.[ch]$")
        assert.is_true(#sources > 5)
        for _, path in ipairs(sources) do
            assert.same({}, refused(path, helper.read(path)))
        end
    end)

    it("hold in Lua", function()
        local sources = files("src/lua", "%.lua$")
        assert.is_true(#sources >= 5)
        for _, path in ipairs(sources) do
            assert.same({}, refused(path, helper.read(path)))
        end
    end)

    it("know every room and module", function()
        for _, path in ipairs(files("src/engine", "%.[ch]$")) do
            assert.is_truthy(place(engine, path:match "(%w+)%.[ch]$"), path)
        end
        for _, path in ipairs(files("src/lua", "%.lua$")) do
            local name = path:match "^src/lua/(.*)%.lua$":gsub("/init$", ""):gsub("/", ".")
            assert.is_truthy(place(modules, name), path)
        end
    end)

    it("refuse what goes upward", function()
        for _, case in ipairs {
            { "src/engine/sys.c", '#include "engine/family.h"' },
            { "src/engine/proc.c", '#include "binding/lib.h"' },
            { "src/engine/proc.h", "#include <lua.h>" },
            { "src/engine/family.c", '# include "lauxlib.h"' },
            { "src/engine/new.c", '#include "engine/sys.h"' },
            { "src/binding/output.c", '#include "binding/process.h"' },
            { "src/binding/output.c", '#include "binding/wire.h"' },
            { "src/main.c", '#include "engine/proc.h"' },
            { "src/main.c", '#include "binding/codec.h"' },
            { "src/lua/luamp/process.lua", 'local mp = require "luamp"' },
            { "src/lua/luamp/options.lua", 'require("luamp.errors")' },
            { "src/lua/luamp/errors.lua", "require 'luamp.process'" },
            { "src/lua/luamp/new.lua", "require 'luamp.core'" },
        } do
            assert.equal(1, #refused(case[1], case[2]), case[1] .. ": " .. case[2])
        end
    end)

    it("allow what goes downward", function()
        for _, case in ipairs {
            { "src/engine/proc.c", '#include "engine/sys.h"\n#include "engine/family.h"\n#include <poll.h>' },
            { "src/binding/process.c", '#include "binding/lib.h"\n#include "binding/codec.h"' },
            { "src/binding/process.c", '#include "engine/proc.h"' },
            { "src/main.c", '#include "lua.h"\n#include "binding/lib.h"' },
            { "src/lua/luamp/init.lua", 'require "luamp.process" require "luamp.core" require "table.x"' },
        } do
            assert.same({}, refused(case[1], case[2]))
        end
    end)
end)

describe("the engine's headers", function()
    it("promise functions of their own name only", function()
        for _, path in ipairs(files("src/engine", "%.h$")) do
            local room = path:match "(%w+)%.h$"
            local functions = promised(helper.read(path))
            assert.is_true(#functions > 0 or room == "page", path) -- which promises a layout
            for _, name in ipairs(functions) do
                assert.equal(1, name:find("mp_" .. room .. "_", 1, true), path .. " promises " .. name)
            end
        end
    end)

    it("are read line by line", function()
        assert.same({ "mp_a_b", "c" }, promised "/* x(y) */\nint mp_a_b(int);\nconst char *c(\n    int (*f)(int));\n")
    end)
end)

describe("files", function()
    it("are no longer than " .. longest .. " lines", function()
        for _, folder in ipairs { "src", "spec", "scripts", "bench" } do
            for _, path in ipairs(files(folder, ".")) do
                local _, lines = helper.read(path):gsub("\n", "")
                local is_source = not path:find "^bench/results/" and not path:find "%.md$" -- but of a run, or a page
                assert.is_true(not is_source or lines <= longest, path .. " has " .. lines)
            end
        end
    end)
end)
