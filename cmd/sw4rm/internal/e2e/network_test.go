package e2e

import (
	"context"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/relay"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
)

// TestNetwork sends operations while the network between the agents and the router loses, repeats, delays and breaks off
// what they say.
func TestNetwork(t *testing.T) {
	disturb(t, false, 500, 120)
}

// TestNetworkCanonical is TestNetwork for agents that find no stream of the module's own, and so speak the protocol's
// RPCs.
func TestNetworkCanonical(t *testing.T) {
	disturb(t, true, 300, 48)
}

// disturb runs operations while the network has faults. Some of them may find nothing to happen to, when the operations
// come to their end: one in six is allowed that.
func disturb(t *testing.T, canonical bool, operations, faults int) {
	r := newRun(t, operations, faults)
	ctx, cancel := context.WithTimeout(t.Context(), r.bound())
	defer cancel()
	s := newStage(t, r.operations)
	s.relay(canonical)
	s.cast()
	begin := time.Now()
	s.play(ctx, r.drawNetwork())
	counts := s.net.Counts()
	t.Logf("settled after %v; faults of the network: %v", time.Since(begin).Round(time.Millisecond), counts)
	floor := history.Floor{Faults: r.faults * 5 / 6}
	if !canonical { // whose messages nobody looks at
		floor.Accepted, floor.Custodies = r.operations, r.operations/2
	}
	s.settle(floor)
	for f := relay.DropRequest; f < relay.Faults && r.faults >= int(6*relay.Faults); f++ {
		require.NotZero(t, counts[f], f)
	}
}

// drawNetwork draws which agent meets which fault, when so many operations have finished.
func (r run) drawNetwork() []fault {
	rng := rand.New(rand.NewPCG(uint64(r.seed), uint64(network)))
	plan := make([]fault, r.faults)
	for i := range plan {
		plan[i].drawNetwork(rng)
		plan[i].after = r.operations * i * 9 / (10 * r.faults)
	}
	return plan
}

// TestSilentConnection lets the connections of sender and handler fall silent for good, both ways, without anybody closing
// them: the agents find out by themselves. It takes as long as that, a minute.
func TestSilentConnection(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startServices(t, time.Second)
	r := newRelay(t, relay.Config{Upstream: s.router})
	through := &services{router: r.Addr(), registry: s.registry}
	server, sender := ours(t, through, agent.Config{ID: "server"}), ours(t, through, agent.Config{ID: "sender"})
	do.Handle(server, func(_ context.Context, req *text) (*text, error) {
		return wrapperspb.String(answerTo(req.GetValue())), nil
	})
	for _, a := range []*agent.Agent{server, sender} {
		require.NoError(t, a.Start(t.Context()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	_, err := do.Call(ctx, client(sender, "server"), wrapperspb.String("first"))
	require.NoError(t, err)
	require.Equal(t, 2, r.SilenceAll())
	res, err := do.Call(ctx, client(sender, "server"), wrapperspb.String("second"))
	require.NoError(t, err)
	require.Equal(t, answerTo("second"), res.GetValue())
}

const (
	// slowFor is longer than the lease of the tests' services, and than the acknowledgement timeout.
	slowFor = 1500 * time.Millisecond
	// silentFor is how long a half-open connection says nothing before it ends.
	silentFor = 2500 * time.Millisecond
)

// newRelay starts a relay that lasts as long as the test.
func newRelay(t *testing.T, c relay.Config) *relay.Relay {
	t.Helper()
	c.Slow, c.Silent = slowFor, silentFor
	l, err := net.Listen("tcp", freeAddr(t))
	require.NoError(t, err)
	r, err := relay.Start(l, c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}
