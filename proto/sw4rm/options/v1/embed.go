package optionspb

import _ "embed"

// Source is the text of sw4rm/options/v1/options.proto, for tools that write it into a user's workspace.
//
//go:embed options.proto
var Source string
