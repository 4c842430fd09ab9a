//go:build !race

package storagefault

const raceEnabled = false
