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
	what, percent := s.Fullest()
	now := roomy
	switch {
	case percent >= 100:
		now = full
	case percent >= noticeAt:
		now = nearlyFull
	}
	switch {
	case now == was:
	case now == full:
		a.log.Error("the activity buffer is full: new work is refused with BUFFER_FULL. Fix: find out what does not move, or raise the limits of Config",
			"of", what, "percent", percent)
	case now > was:
		a.log.Warn("the activity buffer is nearly full", "of", what, "percent", percent)
	case now == roomy:
		a.log.Info("the activity buffer has room again", "of", what, "percent", percent)
	}
	return now
}
