package e2e

import (
	"context"
	"hash/fnv"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// What handlers write: under didKey and the token how often the operation's writes were stored, and in a few counters, which
// handlers meet at, how many operations there were.
const (
	didKey   = "did/"
	countKey = "count/"
	counters = 8
)

// writeDone notes that a handler has done its work.
func writeDone(tx *exchange.Tx, token string, counted bool) error {
	if err := addOne(tx, didKey+token); err != nil || !counted {
		return err
	}
	return addOne(tx, counterOf(token))
}

// counterOf is the counter that the handler of a token adds to.
func counterOf(token string) string {
	h := fnv.New32a()
	h.Write([]byte(token))
	return countKey + strconv.Itoa(int(h.Sum32()%counters))
}

func addOne(tx *exchange.Tx, key string) error {
	text, err := tx.Get(key)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(text))
	return tx.Set(key, []byte(strconv.Itoa(n+1)))
}

// written is what a worker's handlers have written.
type written struct {
	did            map[string]bool
	counted, total int
}

// writtenBy reads it, and checks that nothing was stored twice.
func writtenBy(ctx context.Context, t *testing.T, a *agent.Agent) written {
	t.Helper()
	w := written{did: map[string]bool{}}
	require.NoError(t, a.Data(ctx, func(tx *exchange.Tx) error {
		for e, err := range tx.Scan("") {
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(e.Value))
			if err != nil {
				return err
			}
			if token, ok := strings.CutPrefix(e.Key, didKey); ok {
				require.Equal(t, 1, n, "the writes of %s were stored %d times", token, n)
				w.did[token] = true
			} else {
				w.total += n
			}
		}
		return nil
	}))
	return w
}

// note takes a received message, which has the writes of its handler if it was fulfilled, and only then.
func (w *written) note(t *testing.T, token string, fulfilled, counted bool) {
	t.Helper()
	require.Equal(t, fulfilled, w.did[token], "the outcome of %s and what its handler has written have parted", token)
	delete(w.did, token)
	if fulfilled && counted {
		w.counted++
	}
}

// settle checks that everything written was noted.
func (w *written) settle(t *testing.T) {
	t.Helper()
	require.Empty(t, w.did, "handlers have written for messages that are not there")
	require.Equal(t, w.counted, w.total, "counted")
}
