package activity

import (
	"log/slog"
	"math/rand/v2"
	"time"
)

// Defaults of Config.
const (
	DefaultMaxOut        = 10_000
	DefaultMaxIn         = 10_000
	DefaultDedupWindow   = time.Hour
	DefaultInKeep        = 25 * time.Hour
	DefaultKeepBodies    = 10_000
	DefaultKeepAge       = 24 * time.Hour
	DefaultMaxDedupBytes = 1 << 30
	DefaultMaxDataBytes  = 64 << 20
)

// Config sets the limits of a Buffer. Zero values are the defaults.
type Config struct {
	// MaxOut and MaxIn bound the active operations and the active received messages. Default: 10,000 each.
	MaxOut, MaxIn int
	// DedupWindow is how long the outcomes of operations with a content key or a caller's key stay, counted from the
	// outcome. Default: one hour (SW4RM spec 11.2).
	DedupWindow time.Duration
	// InKeep is how long finished received messages stay, with their replies, to recognise repeated ones. Default: 25 h.
	InKeep time.Duration
	// KeepBodies and KeepAge bound how many other finished operations, and payloads of finished received messages, stay,
	// and how long. Default: 10,000 and 24 h.
	KeepBodies int
	KeepAge    time.Duration
	// MaxDedupBytes bounds what is kept for DedupWindow and InKeep. At the bound new messages, and operations with a
	// content key or a caller's key, are refused with BUFFER_FULL; the windows never shrink. Results that nobody handled
	// have the same bound; beyond it Prune drops the oldest and logs it. Default: 1 GiB.
	MaxDedupBytes int64
	// MaxDataBytes bounds the agent's own data, keys and values together. Default: 64 MiB.
	MaxDataBytes int64
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Jitter returns a random number in [0, 1) that spreads the waits between attempts. Default: math/rand.
	Jitter func() float64
	// Logger takes late outcomes and dropped results. Default: slog.Default().
	Logger *slog.Logger
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func (c Config) withDefaults() Config {
	c.MaxOut = orDefault(c.MaxOut, DefaultMaxOut)
	c.MaxIn = orDefault(c.MaxIn, DefaultMaxIn)
	c.DedupWindow = orDefault(c.DedupWindow, DefaultDedupWindow)
	c.InKeep = orDefault(c.InKeep, DefaultInKeep)
	c.KeepBodies = orDefault(c.KeepBodies, DefaultKeepBodies)
	c.KeepAge = orDefault(c.KeepAge, DefaultKeepAge)
	c.MaxDedupBytes = orDefault(c.MaxDedupBytes, DefaultMaxDedupBytes)
	c.MaxDataBytes = orDefault(c.MaxDataBytes, DefaultMaxDataBytes)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
