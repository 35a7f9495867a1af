-- pool_volume_spec.lua: what a pool takes of memory does not grow with the number of its tasks.
local helper = require "spec.helper"

local MIB <const> = 1 << 20

-- A sanitizer keeps what was freed; what is shown of the program holds for stock Lua, too.
local tenth = helper.sanitized or helper.host ~= helper.luamp

-- Numbers that a script prints, which has n in its text: what it has counted, and how many bytes its process
-- and the shared memory have had at most.
local function run(code, n)
    local result = helper.script_run("local n <const> = " .. n .. [[

        local pool <close> = mp.pool(2)
        local count = 0
    ]] .. code .. [[

        local file <close> = io.open "/proc/self/status"
        print(count, file:read "a":match "VmHWM:%s*(%d+) kB" * 1024, mp.memory().backed)]])
    assert.same({ 0, "" }, { result.status, result.stderr })
    local list = {}
    for number in result.stdout:gmatch "%d+" do list[#list + 1] = math.tointeger(number) end
    return table.unpack(list)
end

local function is_flat(most, backed)
    if helper.sanitized then return end
    assert.is_true(most < 64 * MIB, most)
    assert.is_true(backed < 32 * MIB, backed)
end

describe("memory is flat over", function()
    it("ten million tasks", function()
        local n <const> = tenth and 1000000 or 10000000
        local count, most, backed = run("count = pool:each(function() end, mp.range(1, n), { chunksize = 64 })", n)
        assert.equal(n, count)
        is_flat(most, backed)
    end)

    it("an input without an end, whose results are taken slowly", function()
        local n <const> = tenth and 6000 or 60000
        local count, most, backed = run([[
            local function endless() return ("x"):rep(2048) end
            for _, options in ipairs { {}, { retries = 1 }, { window = 100 }, { on_error = "collect" } } do
                for i in pool:imap_unordered(function(x) return x end, endless, options) do
                    count = count + 1
                    if i % 1000 == 0 then mp.sleep(0.002) end
                    if count % n == 0 then break end
                end
            end]], n)
        assert.equal(4 * n, count)
        is_flat(most, backed)
    end)
end)

it("a million results of 1 KiB take less than twice their size", function()
    local n <const> = tenth and 100000 or 1000000
    local count, most, backed = run([[
        local list = pool:map(function(i) return ("%08d"):format(i) .. ("x"):rep(1016) end, mp.range(1, n))
        for i, text in ipairs(list) do
            if #text == 1024 and tonumber(text:sub(1, 8)) == i then count = count + 1 end
        end]], n)
    assert.equal(n, count)
    if helper.sanitized then return end
    assert.is_true(most < 2 * n * 1024, most)
    assert.is_true(backed < (64 + 16) * MIB, backed) -- 64 MiB of results may wait until they are taken
end)
