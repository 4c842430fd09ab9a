package agent

import "github.com/sw4rm/sw4rm-go/runtime/activity"

// fullness is how full the activity buffer was when it was looked at last.
type fullness int

const (
	roomy fullness = iota
	nearlyFull
	full
)

// noticeAt is from where on the buffer counts as nearly full, in percent.
const noticeAt = 80

// notice logs when the buffer has become nearly full or full, and when there is room again. It returns how full it is now.
func (a *Agent) notice(was fullness, s activity.Stats) fullness {
	u := s.Fullest()
	now := roomy
	switch {
	case u.Percent >= 100:
		now = full
	case u.Percent >= noticeAt:
		now = nearlyFull
	}
	switch {
	case now == was:
	case now == full:
		a.log.Error("the activity buffer is full: new work is refused with BUFFER_FULL. "+raise(u), "of", u.What, "percent", u.Percent)
	case now > was:
		a.log.Warn("the activity buffer is nearly full. "+raise(u), "of", u.What, "percent", u.Percent)
	case now == roomy:
		a.log.Info("the activity buffer has room again", "of", u.What, "percent", u.Percent)
	}
	return now
}

// raise is what to do when much of a limit is used.
func raise(u activity.Usage) string {
	return "Fix: find out what does not move with sw4rm buffer ls, or raise Config." + u.Field
}
