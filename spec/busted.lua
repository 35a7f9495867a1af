-- busted.lua: busted as a plain script, for whichever interpreter runs it.
require "busted.runner" { standalone = false }
