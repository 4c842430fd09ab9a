package agent

import "sync"

// conclusion is what comes of one run of a handler. The first of the handler's return, its timeout, and an answer that
// somebody else gives fixes it; by the time of a later one the record may belong to the next attempt, of which that says
// nothing.
type conclusion struct {
	mu    sync.Mutex
	fixed bool
}

// fix calls record, unless the conclusion is fixed, and tells whether it did.
func (c *conclusion) fix(record func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fixed {
		return false
	}
	c.fixed = true
	record()
	return true
}

// answer calls end, which ends the message from outside of the run, before or after the run has ended. When it returns nil
// the conclusion is fixed. A nil conclusion is that of a handler that does not run.
func (c *conclusion) answer(end func() error) error {
	if c == nil {
		return end()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := end()
	c.fixed = c.fixed || err == nil
	return err
}
