package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

const jsonType = "application/json"

// peer is an agent of another SDK: it speaks the protocol's RPCs by their generated stubs and knows nothing of this
// module's runtime.
type peer struct {
	t      *testing.T
	id     string
	router routerpb.RouterServiceClient
	items  chan *routerpb.StreamItem
}

// join registers a peer and opens its stream. It leaves when the test ends.
func join(t *testing.T, s *services, id string) *peer {
	t.Helper()
	insecurely := grpc.WithTransportCredentials(insecure.NewCredentials())
	registry, err := grpc.NewClient(s.registry, insecurely)
	require.NoError(t, err)
	router, err := grpc.NewClient(s.router, insecurely)
	require.NoError(t, err)
	res, err := registrypb.NewRegistryServiceClient(registry).RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{
		Agent: &registrypb.AgentDescriptor{AgentId: id, Name: id, ModalitiesSupported: []string{jsonType}},
	})
	require.NoError(t, err)
	require.True(t, res.GetAccepted(), res.GetReason())

	p := &peer{t: t, id: id, router: routerpb.NewRouterServiceClient(router), items: make(chan *routerpb.StreamItem, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := p.router.StreamIncoming(ctx, &routerpb.StreamRequest{AgentId: id})
	require.NoError(t, err)
	_, err = stream.Header() // comes when the router has the stream
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		for {
			item, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			p.items <- item
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; status.Code(err) != codes.Canceled && !errors.Is(err, io.EOF) {
			t.Errorf("the stream of %s ended: %v", id, err)
		}
		require.NoError(t, router.Close())
		require.NoError(t, registry.Close())
	})
	return p
}

// letter returns an envelope as another SDK fills it in: every message has the sequence number 1.
func (p *peer) letter(contentType, token string, payload []byte) *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId: uuid.NewString(), IdempotencyToken: token, ProducerId: p.id, CorrelationId: uuid.NewString(), SequenceNumber: 1,
		MessageType: commonpb.MessageType_DATA, ContentType: contentType, ContentLength: uint64(len(payload)), Payload: payload,
	}
}

// send sends an envelope to the addresses named in metadata.
func (p *peer) send(e *commonpb.Envelope, to ...string) *routerpb.SendMessageResponse {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for _, a := range to {
		ctx = metadata.AppendToOutgoingContext(ctx, "sw4rm-to", a)
	}
	res, err := p.router.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: e})
	require.NoError(p.t, err)
	return res
}

// next returns the next delivery without acknowledging it.
func (p *peer) next() *routerpb.StreamItem {
	p.t.Helper()
	select {
	case item := <-p.items:
		return item
	case <-time.After(patience):
		p.t.Fatal("nothing was delivered")
		return nil
	}
}

// ackDelivery acknowledges a delivery, and tells whether the router has recorded that.
func (p *peer) ackDelivery(item *routerpb.StreamItem) bool {
	p.t.Helper()
	res, err := p.router.AckDelivery(p.t.Context(), &routerpb.DeliveryAckRequest{
		AgentId: p.id, Seq: item.GetSeq(), MessageId: item.GetMsg().GetMessageId(),
		Outcome: routerpb.DeliveryAckOutcome_DELIVERY_ACK_OUTCOME_DELIVERED,
	})
	require.NoError(p.t, err)
	return res.GetRecorded()
}

// take returns the next delivery and acknowledges it.
func (p *peer) take() *commonpb.Envelope {
	p.t.Helper()
	item := p.next()
	require.True(p.t, p.ackDelivery(item))
	return item.GetMsg()
}

// mail is what came in answer to one message.
type mail struct {
	acks    []acknowledgement
	replies []*commonpb.Envelope
}

// acknowledgement is the payload of an ACK as all SDKs write it.
type acknowledgement struct {
	For   string `json:"ack_for_message_id"`
	Stage int    `json:"ack_stage"`
	Code  int    `json:"error_code"`
	Note  string `json:"note"`
}

// collect takes deliveries until so many ACKs and replies are there. The ACKs must belong to e and its conversation.
func (p *peer) collect(e *commonpb.Envelope, acks, replies int) mail {
	p.t.Helper()
	var m mail
	for len(m.acks) < acks || len(m.replies) < replies {
		got := p.take()
		require.Equal(p.t, e.GetCorrelationId(), got.GetCorrelationId())
		if got.GetMessageType() != commonpb.MessageType_ACKNOWLEDGEMENT {
			m.replies = append(m.replies, got)
			continue
		}
		require.Equal(p.t, jsonType, got.GetContentType())
		var a acknowledgement
		require.NoError(p.t, json.Unmarshal(got.GetPayload(), &a))
		require.Equal(p.t, e.GetMessageId(), a.For)
		m.acks = append(m.acks, a)
	}
	return m
}

// stages are the stages of ACKs in the order in which they came.
func (m mail) stages() []int {
	var all []int
	for _, a := range m.acks {
		all = append(all, a.Stage)
	}
	return all
}

// quiet is the logger of agents whose log no test reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// ours makes an agent of this module with its data on disk. It is closed when the test ends.
func ours(t *testing.T, s *services, cfg agent.Config) *agent.Agent {
	t.Helper()
	cfg.RouterAddr, cfg.RegistryAddr = s.router, s.registry
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	a, err := sw4rm.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// brief returns a context that ends when patience does.
func brief(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
