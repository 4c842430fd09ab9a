package envelope_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.UnixMicro(1_000_000)
	c := envelope.NewClock("n:1", func() time.Time { return now })
	assert.Equal(t, "HLC:1000000:0:n:1", c.Now())
	assert.Equal(t, "HLC:1000000:1:n:1", c.Now(), "time stands still")
	now = now.Add(-time.Second)
	assert.Equal(t, "HLC:1000000:2:n:1", c.Now(), "time goes back")
	now = now.Add(2 * time.Second)
	assert.Equal(t, "HLC:2000000:0:n:1", c.Now())

	c.Observe("HLC:2000005:7:other")
	assert.Equal(t, "HLC:2000005:8:n:1", c.Now())
	c.Observe("HLC:2000005:3:other")
	assert.Equal(t, "HLC:2000005:9:n:1", c.Now(), "an older value changes nothing")
	c.Observe("HLC:2000005:4294967295:other")
	assert.Equal(t, "HLC:2000006:0:n:1", c.Now(), "a full counter carries over")
	c.Observe(fmt.Sprintf("HLC:%d:0:other", now.Add(time.Minute).UnixMicro()))
	assert.Equal(t, "HLC:62000000:1:n:1", c.Now(), "the drift's bound")
	for _, bad := range []string{
		"", "HLC:", "HLC:63000000", "HLC:63000000:1", "HLC:x:0:n", "HLC:-1:0:n", "HLC:63000000:x:n", "HLC:63000000:4294967296:n",
		"HLC:99999999999999999999:0:n", "1700000000.000001.node", "1700000000000", "HLC:62000001:0:n",
	} {
		c.Observe(bad)
	}
	assert.Equal(t, "HLC:62000000:2:n:1", c.Now(), "bad and distant values change nothing")
}

func TestClockConcurrent(t *testing.T) {
	t.Parallel()
	c := envelope.NewClock("n", nil)
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				v := c.Now()
				c.Observe(v)
				mu.Lock()
				seen[v] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	assert.Len(t, seen, 1600)
}
