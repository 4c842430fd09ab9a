package agent_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// lostOnce loses the first transmission of each envelope whose token has one of the endings, and remembers what is sent.
type lostOnce struct {
	mu      sync.Mutex
	endings []string
	lost    map[string]bool
}

func (l *lostOnce) lose(env *commonpb.Envelope) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range l.endings {
		if strings.HasSuffix(env.GetIdempotencyToken(), end) && !l.lost[env.GetIdempotencyToken()] {
			l.lost[env.GetIdempotencyToken()] = true
			return true
		}
	}
	return false
}

// TestFramesThatARouterLosesAreSentAgain has a router that forgets frames, and ends of streams.
func TestFramesThatARouterLosesAreSentAgain(t *testing.T) {
	for name, endings := range map[string][]string{
		"in the middle": {":frame:1.7:v1", ":frame:1.8:v1", ":frame:1.150:v1"},
		"the last":      {":frame:1.200:v1"},
		"the end":       {":frame:1.201:v1"},
		"both":          {":frame:1.200:v1", ":frame:1.201:v1"},
		"the first":     {":frame:1.1:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroadcaster()
				l := &lostOnce{endings: endings, lost: map[string]bool{}}
				b.lose = l.lose
				p := newPeer(t, b.register)
				server, client := p.agent("server"), p.agent("client")
				count.Handle(server, counting(200))
				start(t, server, client)
				began := time.Now()
				got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
				require.NoError(t, err)
				assert.Equal(t, upTo(200), got)
				assert.Len(t, l.lost, len(endings))
				assert.Less(t, time.Since(began), 20*time.Minute)
			})
		})
	}
}

// TestNothingOvertakesFrames has a router that takes no frames for a while.
func TestNothingOvertakesFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster()
		var mu sync.Mutex
		open, order := time.Now().Add(5*time.Second), []string(nil)
		b.fail = func(env *commonpb.Envelope) error {
			mu.Lock()
			defer mu.Unlock()
			_, _, n, frame := envelope.ParseFrameToken(env.GetIdempotencyToken())
			if frame && n <= 5 && time.Now().Before(open) {
				return status.Error(codes.NotFound, "nobody is there")
			}
			if env.GetProducerId() == "server" {
				order = append(order, env.GetMessageType().String()+" "+env.GetIdempotencyToken()[max(0, len(env.GetIdempotencyToken())-6):])
			}
			return nil
		}
		p := newPeer(t, b.register)
		server, client := p.agent("server"), p.agent("client")
		count.Handle(server, counting(5))
		start(t, server, client)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		assert.Equal(t, upTo(5), got)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, order, 9, "%q", order)
		assert.Equal(t, []string{"ACKNOWLEDGEMENT ", "ACKNOWLEDGEMENT "}, order[:2], "received and read")
		assert.ElementsMatch(t, []string{"DATA 1.1:v1", "DATA 1.2:v1", "DATA 1.3:v1", "DATA 1.4:v1", "DATA 1.5:v1"}, order[2:7])
		assert.ElementsMatch(t, []string{"DATA 1.6:v1", "ACKNOWLEDGEMENT "}, order[7:])
	})
}
