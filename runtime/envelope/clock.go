package envelope

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxDrift is how far ahead of this clock's time an observed value may be. A peer whose clock is farther off must not
// drag everybody along.
const maxDrift = time.Minute

// Clock is a hybrid logical clock: its values follow real time and never repeat or go back, and come after every value
// that it observed. They are advisory (SW4RM spec 4). Its methods may be called from any goroutine.
type Clock struct {
	node string
	now  func() time.Time

	mu      sync.Mutex
	micros  int64
	counter uint32
}

// NewClock returns a clock for a node, usually an agent's id. A nil now is time.Now.
func NewClock(node string, now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	return &Clock{node: node, now: now}
}

// Now returns the next value, HLC:MICROSECONDS:COUNTER:NODE, with microseconds since 1970.
func (c *Clock) Now() string {
	wall := c.now().UnixMicro()
	c.mu.Lock()
	switch {
	case wall > c.micros:
		c.micros, c.counter = wall, 0
	case c.counter < math.MaxUint32:
		c.counter++
	default:
		c.micros, c.counter = c.micros+1, 0
	}
	micros, counter := c.micros, c.counter
	c.mu.Unlock()

	b := make([]byte, 0, 32+len(c.node))
	b = append(b, "HLC:"...)
	b = strconv.AppendInt(b, micros, 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(counter), 10)
	b = append(b, ':')
	return string(append(b, c.node...))
}

// Observe moves the clock past a peer's value. Values in another form, and values more than a minute ahead, are ignored.
func (c *Clock) Observe(value string) {
	rest, ok := strings.CutPrefix(value, "HLC:")
	if !ok {
		return
	}
	text, rest, ok := strings.Cut(rest, ":")
	if !ok {
		return
	}
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil || micros < 0 {
		return
	}
	text, _, ok = strings.Cut(rest, ":")
	if !ok {
		return
	}
	counter, err := strconv.ParseUint(text, 10, 32)
	if err != nil || micros > c.now().Add(maxDrift).UnixMicro() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if micros > c.micros || micros == c.micros && uint32(counter) > c.counter {
		c.micros, c.counter = micros, uint32(counter)
	}
}
