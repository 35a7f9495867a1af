-- busted.lua: busted as a plain script, for whichever interpreter runs it.
--
-- busted gives the functions of specs an environment of its own. Here they have the
-- global one, as a script's have: processes are to be started with them, also in a
-- fresh interpreter, and an environment that is a table like any other travels along.
require "busted.compatibility".setfenv = function(f) return f end
require "busted.runner" { standalone = false }
