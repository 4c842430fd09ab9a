// Package fullness logs when a bound is nearly used up, when it is, and when there is room again: one line for each change.
package fullness

import "log/slog"

const (
	// nearly is from where on a bound counts as nearly used up, room below what there is room again, in percent. They differ,
	// so that use that goes up and down around one of them is no change.
	nearly = 80
	room   = 70
)

type level int

const (
	roomy level = iota
	nearlyFull
	full
)

// Bound is what is bounded.
type Bound struct {
	// Name is the bound's, as in refusals; Fix says what to do.
	Name, Fix string
}

// Gauge remembers what was logged last of a bound. The zero Gauge is that of one with room. Its user guards it.
type Gauge struct{ told level }

// Near tells whether most is nearly used up by n.
func Near(n, most int) bool { return 100*int64(n) >= nearly*int64(most) }

// Grew logs that n of most are used, if that is more than what was logged last. Names that others chose belong into attrs.
func (g *Gauge) Grew(log *slog.Logger, of Bound, n, most int, attrs ...any) {
	now := roomy
	switch {
	case n >= most:
		now = full
	case Near(n, most):
		now = nearlyFull
	}
	if now <= g.told {
		return
	}
	g.told = now
	attrs = append([]any{"bound", of.Name, "used", n, "of", most}, attrs...)
	if now == full {
		log.Error("a bound is reached, and what goes beyond it is refused. Fix: "+of.Fix, attrs...)
		return
	}
	log.Warn("a bound is nearly reached. Fix: "+of.Fix, attrs...)
}

// Shrank logs that there is room again, if something else was logged last. It tells whether there is room.
func (g *Gauge) Shrank(log *slog.Logger, of Bound, n, most int, attrs ...any) bool {
	if g.told == roomy {
		return true
	}
	if 100*int64(n) >= room*int64(most) {
		return false
	}
	g.told = roomy
	log.Info("there is room again", append([]any{"bound", of.Name, "used", n, "of", most}, attrs...)...)
	return true
}
