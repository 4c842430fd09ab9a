package agent_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// oneWayTypes are the message types of one-way exchanges, with their names on the wire.
var oneWayTypes = map[exchange.MessageType]commonpb.MessageType{
	exchange.Data:            commonpb.MessageType_DATA,
	exchange.Control:         commonpb.MessageType_CONTROL,
	exchange.Notification:    commonpb.MessageType_NOTIFICATION,
	exchange.HITLInvocation:  commonpb.MessageType_HITL_INVOCATION,
	exchange.WorktreeControl: commonpb.MessageType_WORKTREE_CONTROL,
	exchange.Negotiation:     commonpb.MessageType_NEGOTIATION,
}

// TestMessageTypes sends each type to an agent of this module and to one of another make.
func TestMessageTypes(t *testing.T) {
	for typ, onWire := range oneWayTypes {
		t.Run(onWire.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				server, client, peer := net.Agent("server"), net.Agent("client"), newForeigner(t, net, "peer")
				tells := exchange.NewOneWay[text]("test.v1.Echo/Tells", typ)
				asks := exchange.NewCall[text, text]("test.v1.Echo/Asks", typ)
				infos := make(chan exchange.Info, 2)
				tells.Handle(server, func(ctx context.Context, _ *text) error {
					info, _ := exchange.InfoFrom(ctx)
					infos <- info
					return nil
				})
				asks.Handle(server, func(ctx context.Context, m *text) (*text, error) {
					info, _ := exchange.InfoFrom(ctx)
					infos <- info
					return m, nil
				})
				start(t, server, client)
				room, parent := envelope.NewID(), envelope.NewID()
				about := []exchange.SendOption{
					exchange.WithCorrelation(room), exchange.WithParentCorrelation(parent), exchange.WithWorktree("repo-1", "tree-1"),
				}
				d, err := tells.Send(t.Context(), to(client, "server"), str("x"), about...)
				require.NoError(t, err)
				require.NoError(t, d.Outcome(t.Context()))
				assert.Equal(t, ack.Fulfilled, d.Status().Stage)
				res, err := asks.Call(t.Context(), to(client, "server"), str("y"), about...)
				require.NoError(t, err)
				assert.Equal(t, "y", res.GetValue())
				for range 2 {
					info := <-infos
					assert.Equal(t, typ, info.MessageType)
					assert.Equal(t, "repo-1", info.RepoID)
					assert.Equal(t, "tree-1", info.WorktreeID)
					assert.Equal(t, room, info.CorrelationID)
					assert.Equal(t, parent, info.ParentCorrelationID)
				}

				_, err = tells.Send(t.Context(), to(client, "peer"), str("z"), about...)
				require.NoError(t, err)
				env := <-peer.got
				assert.Equal(t, onWire, env.GetMessageType())
				assert.Equal(t, "repo-1", env.GetRepoId())
				assert.Equal(t, "tree-1", env.GetWorktreeId())
				assert.Equal(t, room, env.GetCorrelationId(), "the room of a negotiation is its conversation")
				assert.Equal(t, parent, env.GetParentCorrelationId())

				// The same exchange under another type, for one call.
				other := exchange.Control
				if typ == exchange.Control {
					other = exchange.Data
				}
				require.NoError(t, tells.Call(t.Context(), to(client, "server"), str("x"), other))
				assert.Equal(t, other, (<-infos).MessageType, "a message that names its exchange reaches it under any type")
			})
		})
	}
}

// TestEventsOfOtherMakes has the JSON that agents of other makes send: a request to yield, and the events of a negotiation.
func TestEventsOfOtherMakes(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, peer := net.Agent("server"), newForeigner(t, net, "peer")
		preempt := exchange.NewOneWay[structpb.Struct]("test.v1.Agent/Control", exchange.Control, exchange.ContentType("application/json"))
		debate := exchange.NewPayload[structpb.Struct]("google.protobuf.Struct", exchange.Negotiation)
		var got []string
		preempt.Handle(server, func(_ context.Context, m *structpb.Struct) error {
			got = append(got, m.GetFields()["type"].GetStringValue())
			return nil
		})
		debate.Handle(server, func(_ context.Context, m *structpb.Struct) error {
			got = append(got, m.GetFields()["kind"].GetStringValue())
			return nil
		})
		start(t, server)
		for _, m := range []struct {
			typ     commonpb.MessageType
			payload string
		}{
			{commonpb.MessageType_CONTROL, `{"type": "PREEMPT_REQUEST", "reason": "a task with a higher priority"}`},
			{commonpb.MessageType_NEGOTIATION, `{"kind": "open", "ts": "2026-01-01T00:00:00Z", "topic": "names", "corr": "room-1"}`},
			{commonpb.MessageType_NEGOTIATION, `{"kind": "evaluate", "ts": "2026-01-01T00:00:01Z", "from": "peer", "score": 0.5, "notes": ""}`},
		} {
			assert.Equal(t, ack.Fulfilled, peer.outcome(peer.send("agent:server", m.typ, "application/json", m.payload)).Stage)
		}
		sig := peer.outcome(peer.send("agent:server", commonpb.MessageType_NEGOTIATION, "application/json", `{"kind": `))
		assert.Equal(t, ack.Rejected, sig.Stage)
		assert.Equal(t, ack.ValidationError, sig.Code)
		assert.Equal(t, []string{"PREEMPT_REQUEST", "open", "evaluate"}, got)
	})
}

// TestNegotiationsKeepTheirOrder has two rooms: each keeps its order, and neither waits for the other.
func TestNegotiationsKeepTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		propose := exchange.NewOneWay[text]("test.v1.Room/Propose", exchange.Negotiation)
		held, free := make(chan struct{}), make(chan string, 10)
		propose.Handle(server, func(_ context.Context, m *text) error {
			if m.GetValue() == "held 1" {
				<-held
			}
			free <- m.GetValue()
			return nil
		})
		start(t, server, client)
		rooms := map[string]string{"held": envelope.NewID(), "free": envelope.NewID()}
		for _, name := range []string{"held", "free"} {
			for n := range 3 {
				_, err := propose.Send(t.Context(), to(client, "server"), str(fmt.Sprint(name, " ", n+1)), exchange.WithCorrelation(rooms[name]))
				require.NoError(t, err)
			}
		}
		synctest.Wait()
		require.Len(t, free, 3)
		for n := range 3 {
			assert.Equal(t, fmt.Sprint("free ", n+1), <-free)
		}
		close(held)
		for n := range 3 {
			assert.Equal(t, fmt.Sprint("held ", n+1), <-free)
		}
	})
}
