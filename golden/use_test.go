package golden

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sw4rm/sw4rm-go/golden/defaults"
	"github.com/sw4rm/sw4rm-go/golden/exchanges"
	"github.com/sw4rm/sw4rm-go/golden/keys"
	"github.com/sw4rm/sw4rm-go/golden/settings"
	"github.com/sw4rm/sw4rm-go/golden/shapes"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// registrar records what generated code registers.
type registrar struct {
	services []exchange.Service
	handlers map[string]exchange.Handler
	mistakes []error
}

func (r *registrar) Service(s exchange.Service) { r.services = append(r.services, s) }
func (r *registrar) Handle(d *exchange.Descriptor, fn exchange.Handler) {
	r.handlers[d.Name()] = fn
}
func (r *registrar) HandleReply(*exchange.Descriptor, exchange.ReplyHandler) {}
func (r *registrar) Mistake(err error)                                       { r.mistakes = append(r.mistakes, err) }

type reviewer struct {
	shapes.UnimplementedReviewerHandler
}

func (reviewer) Review(_ context.Context, req *shapes.ReviewRequest) (*shapes.ReviewResponse, error) {
	return &shapes.ReviewResponse{Findings: []string{req.GetPath()}}, nil
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	r := &registrar{handlers: map[string]exchange.Handler{}}
	shapes.HandleReviewer(r, reviewer{})
	require.Equal(t, []exchange.Service{{Name: "golden.shapes.Reviewer", Capability: "code.review", File: shapes.File_shapes_shapes_proto}}, r.services)
	require.Len(t, r.handlers, 3)

	res, err := r.handlers["golden.shapes.Reviewer/Review"](t.Context(), &shapes.ReviewRequest{Path: "main.go"})
	require.NoError(t, err)
	require.True(t, proto.Equal(&shapes.ReviewResponse{Findings: []string{"main.go"}}, res))

	_, err = r.handlers["golden.shapes.Reviewer/Ping"](t.Context(), &emptypb.Empty{})
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType})
	require.ErrorContains(t, err, "golden.shapes.Reviewer/Ping is not implemented")
}

func TestNilHandler(t *testing.T) {
	t.Parallel()
	r := &registrar{handlers: map[string]exchange.Handler{}}
	shapes.HandleReviewer(r, nil)
	shapes.HandleReviewer(nil, reviewer{})
	require.Empty(t, r.services)
	require.Empty(t, r.handlers)
	require.Len(t, r.mistakes, 1)
}

var errSent = errors.New("sent")

// sender records what generated code sends, and ends it.
type sender struct{ out *exchange.Outgoing }

func (s *sender) Send(_ context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
	s.out = out
	return nil, errSent
}

func (s *sender) Resume(context.Context, *exchange.Descriptor, exchange.Ref) (exchange.Operation, error) {
	return nil, exchange.ErrUnknownRef
}

func TestCallersAndSenders(t *testing.T) {
	t.Parallel()
	s := &sender{}
	to := address.Agent("reviewer-1")
	_, err := shapes.NewReviewerCaller(s, to).Review(t.Context(), &shapes.ReviewRequest{Path: "a"}, exchange.TTL(time.Second))
	require.ErrorIs(t, err, errSent)
	require.Equal(t, to, s.out.To)
	require.True(t, s.out.Caller)
	require.Equal(t, time.Second, s.out.Policy.TTL)
	require.Equal(t, time.Minute, s.out.Policy.ReplyTimeout)

	_, err = shapes.NewReviewerSender(s, to).PullRequestOpened(t.Context(), &shapes.PullRequestOpenedRequest{})
	require.ErrorIs(t, err, errSent)
	require.False(t, s.out.Caller)
	require.Equal(t, exchange.Notification, s.out.Policy.MessageType)
}

// TestPolicies holds generated options to what the runtime makes of them.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, d := range []*exchange.Descriptor{
		settings.EverythingExchanges.Call.Descriptor(),
		settings.EverythingExchanges.Pieces.Descriptor(),
		settings.EverythingExchanges.Zeros.Descriptor(),
		settings.EverythingExchanges.FirstWait.Descriptor(),
		settings.EverythingExchanges.LastWait.Descriptor(),
		settings.EverythingExchanges.Factor.Descriptor(),
		defaults.InheritsExchanges.Ask.Descriptor(),
		defaults.InheritsExchanges.Tell.Descriptor(),
		defaults.OverridesExchanges.Service.Descriptor(),
		defaults.OverridesExchanges.Method.Descriptor(),
	} {
		require.NoError(t, d.Validate())
	}
	require.Equal(t, exchange.Policy{
		MessageType:  exchange.HITLInvocation,
		AckTimeout:   1500 * time.Microsecond,
		ReplyTimeout: 90 * time.Minute,
		Deadline:     48 * time.Hour,
		TTL:          time.Hour,
		Retry: exchange.RetryPolicy{
			MaxAttempts:    7,
			InitialBackoff: 250 * time.Millisecond,
			MaxBackoff:     time.Minute,
			Multiplier:     1.5,
			Codes:          []ack.Code{ack.BufferFull, ack.InternalError, ack.Redirect},
		},
		Idempotency:    exchange.ByContent,
		Order:          exchange.OrderAgent,
		HandlerTimeout: 90 * time.Second,
	}, settings.EverythingExchanges.Call.Descriptor().Policy())
	require.Equal(t, exchange.ContinueOnResume, exchanges.WorkerExchanges.Follow.Descriptor().Policy().Resume)
	require.NotEqual(t, exchange.ContinueOnResume, exchanges.ToolsExchanges.Scan.Descriptor().Policy().Resume, "the RPC overrides the service")
	foreign := exchanges.ForeignExchanges.Submit.Descriptor().Policy()
	require.Equal(t, "application/vnd.golden.task+json;v=1", foreign.ContentType)
	require.Equal(t, exchange.JSON, foreign.Format)
	require.True(t, exchanges.HeartbeatExchange.Descriptor().Standalone())
	require.Equal(t, exchange.EachCall, defaults.OverridesExchanges.Method.Descriptor().Policy().Idempotency)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	d := keys.KeysExchanges.Nested.Descriptor()
	key := func(m proto.Message) string {
		b, err := d.ContentKey(m)
		require.NoError(t, err)
		return string(b)
	}
	full := &keys.Request{
		Text:   "t",
		Choice: &keys.Request_Picked{Picked: &keys.Customer{Id: "p"}},
		Order:  &keys.Order{Customer: &keys.Customer{Id: "c"}, At: timestamppb.New(time.Unix(5, 0))},
	}
	require.Equal(t, key(full), key(proto.Clone(full)))
	other := proto.Clone(full).(*keys.Request)
	other.Raw = []byte("not part of the key")
	require.Equal(t, key(full), key(other))
	other.Order.Customer.Id = "d"
	require.NotEqual(t, key(full), key(other))
	require.NotEmpty(t, key(&keys.Request{}), "unset messages on the way to a field must be safe")
}
