package registry

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial serves r on a socket.
func dial(t *testing.T, r *Registry) registrypb.RegistryServiceClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	r.Register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		s.Stop()
		require.NoError(t, <-served)
	})
	return registrypb.NewRegistryServiceClient(conn)
}

func descriptor(id string) *registrypb.AgentDescriptor {
	return &registrypb.AgentDescriptor{
		AgentId: id, Name: "Reviewer", Description: "reads code", Capabilities: []string{"code.review", "x"},
		CommunicationClass:  commonpb.CommunicationClass_STANDARD,
		ModalitiesSupported: []string{"application/json"}, ReasoningConnectors: []string{"http://r"},
		PublicKey: []byte{1, 2, 3}, RegistrationType: registrypb.RegistrationType_SWARM_GATEWAY, MaxConcurrentDelegations: 7,
	}
}

func TestRegistrationIsKeptOverRestarts(t *testing.T) {
	dir := t.TempDir() + "/data"
	db, err := pebble.Open(dir, pebble.Options{})
	require.NoError(t, err)
	r, err := Open(t.Context(), store.Sub(db, "registry/"), Options{})
	require.NoError(t, err)
	c := dial(t, r)
	for _, id := range []string{"a-1", "a-2", "b"} {
		got, err := c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: descriptor(id)})
		require.NoError(t, err)
		require.True(t, got.GetAccepted(), got.GetReason())
	}
	gone, err := c.DeregisterAgent(t.Context(), &registrypb.DeregisterAgentRequest{AgentId: "b"})
	require.NoError(t, err)
	require.True(t, gone.GetOk())
	require.NoError(t, db.Close())

	db, err = pebble.Open(dir, pebble.Options{})
	require.NoError(t, err)
	defer db.Close()
	r, err = Open(t.Context(), store.Sub(db, "registry/"), Options{})
	require.NoError(t, err)
	all := r.Agents()
	require.Len(t, all, 2)
	require.True(t, proto.Equal(descriptor("a-1"), all[0].Descriptor))
	require.True(t, proto.Equal(descriptor("a-2"), all[1].Descriptor))
	require.Equal(t, []string{"code.review", "x"}, r.Capabilities("a-2"))
	require.Nil(t, r.Capabilities("b"))
}

func TestRegisteringAgainOverwrites(t *testing.T) {
	var changed []string
	r, err := Open(t.Context(), store.NewMemory(), Options{Changed: func(id string) { changed = append(changed, id) }})
	require.NoError(t, err)
	c := dial(t, r)
	_, err = c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: descriptor("a")})
	require.NoError(t, err)
	_, err = c.Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a", State: commonpb.AgentState_RUNNING})
	require.NoError(t, err)
	next := descriptor("a")
	next.Capabilities = []string{"other"}
	_, err = c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: next})
	require.NoError(t, err)
	require.Equal(t, []string{"other"}, r.Capabilities("a"))
	require.Equal(t, commonpb.AgentState_RUNNING, r.Agents()[0].State)
	require.Equal(t, []string{"a", "a"}, changed)
}

func TestHeartbeat(t *testing.T) {
	r, err := Open(t.Context(), store.NewMemory(), Options{})
	require.NoError(t, err)
	c := dial(t, r)
	got, err := c.Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a"})
	require.NoError(t, err)
	require.False(t, got.GetOk(), "an unknown agent registers again")

	_, err = c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: descriptor("a")})
	require.NoError(t, err)
	health := map[string]string{"": "no key", strings.Repeat("k", maxHealthKey+1): "long key", "long": strings.Repeat("ä", maxHealthValue)}
	for i := range 3 * maxHealth {
		health[fmt.Sprintf("z%03d", i)] = "ok"
	}
	for range 2 {
		got, err = c.Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a", State: commonpb.AgentState_RUNNABLE, Health: health})
		require.NoError(t, err)
		require.True(t, got.GetOk())
	}
	e := r.Agents()[0]
	require.Len(t, e.Health, maxHealth)
	require.Equal(t, strings.Repeat("ä", maxHealthValue/2), e.Health["long"])
	require.False(t, e.Seen.IsZero())

	unknown, err := c.DeregisterAgent(t.Context(), &registrypb.DeregisterAgentRequest{AgentId: "nobody"})
	require.NoError(t, err)
	require.False(t, unknown.GetOk())
}

func TestBadDescriptors(t *testing.T) {
	r, err := Open(t.Context(), store.NewMemory(), Options{})
	require.NoError(t, err)
	c := dial(t, r)
	for name, change := range map[string]func(*registrypb.AgentDescriptor){
		"agent id is empty":                   func(d *registrypb.AgentDescriptor) { d.AgentId = "" },
		`agent id "../x" has`:                 func(d *registrypb.AgentDescriptor) { d.AgentId = "../x" },
		`agent id "sw4rm-router" is reserved`: func(d *registrypb.AgentDescriptor) { d.AgentId = "sw4rm-router" },
		"name has 257 bytes":                  func(d *registrypb.AgentDescriptor) { d.Name = strings.Repeat("n", 257) },
		"description has 201 words":           func(d *registrypb.AgentDescriptor) { d.Description = strings.Repeat("w ", 201) },
		"description has 9000 bytes":          func(d *registrypb.AgentDescriptor) { d.Description = strings.Repeat("w", 9000) },
		"capability \"a b\" has":              func(d *registrypb.AgentDescriptor) { d.Capabilities = []string{"a b"} },
		"there are 257 capabilities":          func(d *registrypb.AgentDescriptor) { d.Capabilities = make([]string, 257) },
		"modalities_supported has 65":         func(d *registrypb.AgentDescriptor) { d.ModalitiesSupported = make([]string, 65) },
		"reasoning_connectors has an entry":   func(d *registrypb.AgentDescriptor) { d.ReasoningConnectors = []string{strings.Repeat("r", 300)} },
		"public_key has 8193 bytes":           func(d *registrypb.AgentDescriptor) { d.PublicKey = make([]byte, 8193) },
	} {
		d := descriptor("a")
		change(d)
		got, err := c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: d})
		require.NoError(t, err, name)
		require.False(t, got.GetAccepted(), name)
		require.True(t, strings.HasPrefix(got.GetReason(), "validation_error: "), got.GetReason())
		require.Contains(t, got.GetReason(), name)
		require.Contains(t, got.GetReason(), "Fix: ")
	}
	got, err := c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{})
	require.NoError(t, err)
	require.False(t, got.GetAccepted())
	require.Empty(t, r.Agents())
}

func TestTheNumberOfAgentsIsBounded(t *testing.T) {
	var log bytes.Buffer
	r, err := Open(t.Context(), store.NewMemory(), Options{MaxAgents: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	c := dial(t, r)
	for i, want := range []bool{true, true, false} {
		got, err := c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: descriptor(fmt.Sprint("a", i))})
		require.NoError(t, err)
		require.Equal(t, want, got.GetAccepted(), got.GetReason())
		if !want {
			require.Equal(t, "buffer_full: the registry knows 2 agents, the limit is 2. Fix: call DeregisterAgent for those that are gone, or raise the limit (sw4rm up --max-agents)", got.GetReason())
		}
	}
	got, err := c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: descriptor("a0")})
	require.NoError(t, err)
	require.True(t, got.GetAccepted(), "a known agent may register again")
	for _, id := range []string{"a0", "a1"} {
		gone, err := c.DeregisterAgent(t.Context(), &registrypb.DeregisterAgentRequest{AgentId: id})
		require.NoError(t, err)
		require.True(t, gone.GetOk())
	}
	require.Equal(t, 1, strings.Count(log.String(), `level=ERROR msg="a bound is reached`), log.String())
	require.Equal(t, 1, strings.Count(log.String(), `msg="there is room again" bound="max_agents, registered" used=1 of=2`), log.String())
}

func TestAFailedStoreIsAnError(t *testing.T) {
	s := store.NewMemory()
	r, err := Open(t.Context(), s, Options{})
	require.NoError(t, err)
	c := dial(t, r)
	s.Fail(fmt.Errorf("disk full"))
	_, err = c.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: descriptor("a")})
	require.Equal(t, codes.Internal, status.Code(err))
	require.ErrorContains(t, err, "Fix: mend its disk")
	require.Nil(t, r.Capabilities("a"), "what is not durable is not known")
}

func TestADamagedRecordIsNotIgnored(t *testing.T) {
	s := store.NewMemory()
	var b store.Batch
	b.Set([]byte(keyAgent+"a"), []byte{0xff})
	require.NoError(t, store.Write(t.Context(), s, &b))
	_, err := Open(t.Context(), s, Options{})
	var damaged *store.DamagedError
	require.ErrorAs(t, err, &damaged)
	require.Equal(t, keyAgent+"a", string(damaged.Key))
}
