std = "lua54"
globals = { "mp" }
files["spec"] = { std = "+busted" }
files["docs/luamp.d.lua"] = { ignore = { "212", "431" } }
max_line_length = 120
