package agent

import (
	"sync"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

const (
	// Signals and answers are matched on arrival, so their credit only bounds what is being matched.
	matchMessages = 1024
	matchBytes    = 32 << 20
)

// inflow grants the router credit for work: what is granted, what waits and what runs together stay within the window.
type inflow struct {
	mu           sync.Mutex
	max          int
	maxBytes     int64
	used         int
	usedBytes    int64
	granted      int
	grantedBytes int64
	session      session
	closed       bool
}

func newInflow(max int, maxBytes int64) *inflow { return &inflow{max: max, maxBytes: maxBytes} }

// hello returns the first credit of a new session; none for work once stop was called.
func (f *inflow) hello() []*transportpb.Credit {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session = nil
	f.granted, f.grantedBytes = 0, 0
	if !f.closed {
		f.granted, f.grantedBytes = f.missing()
	}
	credit := []*transportpb.Credit{
		{Class: transportpb.Class_CLASS_SIGNAL, Messages: matchMessages, Bytes: matchBytes},
		{Class: transportpb.Class_CLASS_ANSWER, Messages: matchMessages, Bytes: matchBytes},
	}
	if f.granted > 0 {
		credit = append(credit, &transportpb.Credit{
			Class: transportpb.Class_CLASS_WORK, Messages: uint32(f.granted), Bytes: uint64(f.grantedBytes),
		})
	}
	return credit
}

// use makes s the session that gets further credit, nil for none.
func (f *inflow) use(s session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session = s
	f.topUp()
}

// stop grants nothing any more.
func (f *inflow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// arrived turns credit into a place. The router counts the encoded size, a place the payload's.
func (f *inflow) arrived(encoded, payload int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.granted = max(0, f.granted-1)
	f.grantedBytes -= encoded
	f.used++
	f.usedBytes += payload
}

// take takes a place without credit, for what is there already.
func (f *inflow) take(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used++
	f.usedBytes += bytes
}

// release gives a place back.
func (f *inflow) release(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used--
	f.usedBytes -= bytes
	f.topUp()
}

// missing is what may be granted besides what is granted already. As long as there is any room, one byte of it lets the
// router send a message of any size.
func (f *inflow) missing() (int, int64) {
	messages := f.max - f.used
	bytes := f.maxBytes - f.usedBytes
	if messages <= 0 || bytes <= 0 {
		return 0, 0
	}
	return messages, bytes
}

func (f *inflow) topUp() {
	if f.session == nil || f.closed {
		return
	}
	messages, bytes := f.missing()
	more, moreBytes := max(0, messages-f.granted), max(0, bytes-f.grantedBytes)
	if more == 0 && moreBytes == 0 {
		return
	}
	f.granted += more
	f.grantedBytes += moreBytes
	f.session.credit(transportpb.Class_CLASS_WORK, uint32(more), uint64(moreBytes))
}
