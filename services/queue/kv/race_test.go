//go:build race

package kv_test

// raceEnabled makes long loops shorter: the race detector slows them down tenfold and learns nothing from them.
const raceEnabled = true
