-- readme_spec.lua: what README.md shows and names is so.
--
-- A block of Lua begins with its file's name in a comment. The next block of
-- text is what it prints, on stdout and stderr together.
local helper = require "spec.helper"
local cjson = require "cjson"
local lfs = require "lfs"
local mp = require "luamp"

local page = helper.read "README.md"
local setup = helper.read "setup"

-- The fenced blocks, in order: {language=, text=}.
local function blocks()
    local found = {}
    for language, text in ("\n" .. page):gmatch "\n```(%a+)\n(.-\n)```\n" do
        table.insert(found, { language = language, text = text })
    end
    return found
end

-- The page without its blocks.
local prose = ("\n" .. page):gsub("\n```%a+\n.-\n```\n", "\n")

-- From one headline to the next.
local function section(title)
    local _, last = prose:find("\n#+ " .. title .. "\n")
    assert(last, "no section " .. title)
    return prose:sub(last, (prose:find("\n#+ ", last) or 0) - 1)
end

-- Pids and addresses differ from run to run; what a traceback calls a function,
-- from Lua to Lua.
local function settled(text)
    return (text:gsub("pid %d+", "pid PID"):gsub("0x%x+", "ADDRESS"):gsub("(\n\t[^\n]-): in [^\n]*", "%1"))
end

local function run(name, text)
    local cwd = helper.tmpdir()
    helper.write(cwd .. "/" .. name, text)
    return helper.run(helper.quote(helper.host) .. " " .. name .. " 2>&1", { cwd = cwd })
end

describe("the README's script", function()
    local all, scripts = blocks(), 0
    for i, block in ipairs(all) do
        if block.language == "lua" then
            scripts = scripts + 1
            local name = block.text:match "^%-%- ([%w_]+%.lua)\n"
            it((name or "number " .. scripts) .. " prints what is shown", function()
                assert.is_truthy(name, "its first line is not its name")
                assert.equal("text", all[i + 1] and all[i + 1].language)
                local result = run(name, block.text)
                assert.equal(settled(all[i + 1].text), settled(result.stdout))
                assert.equal(0, result.status)
            end)
        end
    end

    it("is there", function()
        assert.is_true(scripts >= 3)
    end)
end)

describe("the README", function()
    -- The first folders of what is made by building and installing.
    local made = { build = true, bin = true, lib = true, share = true }
    local endings = { lua = true, md = true, json = true, c = true }

    local function is_path(word)
        return word:find "^[%w_.%-][%w_./%-]*$"
            and not made[word:match "^[^/]*"]
            and (word:find "/" or endings[word:match "%.(%l+)$"])
    end

    it("names no file that is not there", function()
        local n = 0
        for word in prose:gmatch "`([^`\n]+)`" do
            if is_path(word) then
                n = n + 1
                assert.is_truthy(lfs.attributes(word), word)
            end
        end
        assert.is_true(n > 10, "only " .. n .. " paths found")
    end)

    it("shows the tree as it is", function()
        local listed = {}
        for cell in section("How it is made"):gmatch "\n| (`[^|]*) |" do
            for path in cell:gmatch "`([^`]+)`" do
                assert.is_truthy(lfs.attributes(path), path)
                listed[path:match "^[^/]*"] = true
            end
        end
        for name in lfs.dir "." do
            if lfs.attributes(name, "mode") == "directory" and name:find "^%l+$" and not made[name] then
                assert.is_true(listed[name], name)
            end
        end
    end)

    it("links to nothing that is not there", function()
        local n = 0
        for target in prose:gmatch "%]%(([^)%s]+)%)" do
            if not target:find "^%a+:" then
                n = n + 1
                assert.is_truthy(lfs.attributes((target:gsub("#.*", ""))), target)
            end
        end
        assert.is_true(n > 0)
    end)

    it("begins with the two commands, and gives setup no word that it does not know", function()
        local first = blocks()[1]
        assert.is_truthy(first.text:find "^%./setup run .*\n%./setup test ")
        for verb in page:gmatch "%./setup (%l+)" do
            assert.is_truthy(setup:find("#   ./setup " .. verb, 1, true), verb)
        end
    end)

    it("names every name of the module, and no other", function()
        local there, absent = section "What there is", section "Not in this version"
        local python = section "For those who know Python's multiprocessing"
        for name in pairs(mp) do
            assert.is_truthy(there:find("mp%." .. name .. "%f[^%w_]"), name)
        end
        for name in (page:gsub("### Not in this version\n.-\n## ", "")):gmatch "%f[%w]mp%.([%w_]+)" do
            assert.is_not_nil(rawget(mp, name), name)
        end
        for name in (there .. python):gmatch "%f[%w]p:([%l_]+)%(" do
            local p = mp.process(function() end)
            assert.equal("function", type(p[name]), name)
        end
        assert.is_truthy(absent:find "|")
    end)

    it("names every option of a process that there is", function()
        local options = section("What there is"):match "`mp%.process{(.-)}`"
        local values = {
            target = print, args = {}, name = "n", daemon = true, detached = true, start_method = "fork", env = {},
            cwd = "/", stdin = "null", stdout = "null", stderr = "null", cpus = { 0 }, nice = 0,
            timeout = 1, limits = {},
        }
        local n = 0
        for name in options:gmatch "([%l_]+)=" do
            n = n + 1
            assert.is_not_nil(values[name], name)
            mp.process { target = print, [name] = values[name] }
        end
        assert.equal(#require("pl.tablex").keys(values), n)
    end)

    it("lists as absent what raises and says so", function()
        local n = 0
        for text in section("Not in this version"):gmatch "\n| `([^`]+)`" do
            n = n + 1
            local f = assert(load("local mp = ... return " .. text))
            helper.fails("is not available in " .. mp._VERSION:gsub("%p", "%%%0"), f, mp)
        end
        assert.is_true(n >= 2)
    end)

    it("lists the packages that setup installs", function()
        local wanted, listed = {}, {}
        for list in setup:gmatch '\ndebian_%l+="([^"]*)"' do
            for package in list:gmatch ":(%S+)" do
                wanted[package] = true
            end
        end
        for cell in section("What it depends on"):gmatch "\n| (`[^|]*) |" do
            for package in cell:gmatch "`([^`]+)`" do
                listed[package] = true
            end
        end
        assert.same(wanted, listed)
    end)

    it("lists the presets that there are", function()
        local presets = cjson.decode(helper.read "CMakePresets.json")
        local wanted, listed = {}, {}
        for _, preset in ipairs(presets.configurePresets) do
            if not preset.hidden then
                wanted[preset.name] = true
            end
        end
        for name in section("Building and testing by hand"):gmatch "\n| `(%l+)` |" do
            listed[name] = true
        end
        assert.same(wanted, listed)
        wanted[presets.workflowPresets[1].name] = true
        for name in page:gmatch "%-%-preset (%l+)" do
            assert.is_truthy(wanted[name], name)
        end
    end)

    it("speaks of the version that this is, in the news", function()
        assert.is_truthy(helper.read("NEWS.md"):find("\n## " .. mp._VERSION:match "%S+$" .. "\n", 1, true))
    end)
end)
