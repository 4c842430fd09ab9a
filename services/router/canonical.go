package router

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Metadata of the canonical RPCs.
const (
	// MetadataTo names the recipient of a SendMessage: agent:ID or capability:NAME.
	MetadataTo = "sw4rm-to"
	// MetadataInstance names the caller's data directory: STORE/EPOCH.
	MetadataInstance = "sw4rm-instance"
	// MetadataRouter is the response header by which this router is known; it is the id of its store.
	MetadataRouter = "sw4rm-router"
	// MetadataRouterStart is the response header that tells one start of this router from another.
	MetadataRouterStart = "sw4rm-router-start"
)

// routerService serves the protocol's RPCs.
type routerService struct {
	routerpb.UnimplementedRouterServiceServer
	router *Router
}

// SendMessage takes one envelope. What is wrong with the envelope is an answer; a status is for the caller's identity and
// the router's state.
func (s *routerService) SendMessage(ctx context.Context, req *routerpb.SendMessageRequest) (*routerpb.SendMessageResponse, error) {
	r := s.router
	if err := grpc.SetHeader(ctx, r.header()); err != nil {
		return nil, err
	}
	if r.members.isDraining() {
		return nil, status.Error(codes.Unavailable, "draining: the router is going down")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	from, err := r.caller(md, req.GetMsg().GetProducerId())
	if err != nil {
		return nil, err
	}
	m, err := r.prepare(ctx, submission{envelope: req.GetMsg(), named: md.Get(MetadataTo), from: from})
	if err != nil {
		if refused, ok := refusalOf(err); ok {
			return responseOf(refused), nil
		}
		return nil, r.failure(ctx, "prepare", err)
	}
	// Only now is the producer known to be a name that may be kept.
	if refused, err := r.vouch(ctx, from); err != nil {
		return nil, err
	} else if refused != nil {
		return nil, refusedStatus(*refused)
	}
	receipt, err := r.accept(ctx, m)
	if err != nil {
		return nil, err
	}
	answer, err := r.settle(ctx, m, receipt)
	if err != nil {
		return nil, err
	}
	if m.Ends != nil {
		r.ended(from.Agent, m.Ends.MessageID)
	}
	return responseOf(answer), nil
}

// ended makes room in the windows of an agent's streams for a message that it has ended without acknowledging its
// delivery, as older peers do.
func (r *Router) ended(agent, messageID string) {
	for _, s := range r.members.of(agent) {
		if s.window != nil && s.window.ended(messageID) {
			s.wake()
		}
	}
}

// AckDelivery records custody of a delivery. Whatever is wrong with the arguments is recorded=false.
func (s *routerService) AckDelivery(ctx context.Context, req *routerpb.DeliveryAckRequest) (*routerpb.DeliveryAckResponse, error) {
	r := s.router
	if err := grpc.SetHeader(ctx, r.header()); err != nil {
		return nil, err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	h, err := r.caller(md, req.GetAgentId())
	if err != nil {
		return nil, err
	}
	d := delivered{seq: req.GetSeq(), messageID: req.GetMessageId()}
	switch req.GetOutcome() {
	case routerpb.DeliveryAckOutcome_DELIVERY_ACK_OUTCOME_DELIVERED:
	case routerpb.DeliveryAckOutcome_DELIVERY_ACK_OUTCOME_PERMANENT_FAILURE:
		d.dead = true
	default:
		return &routerpb.DeliveryAckResponse{}, nil
	}
	if checkAgent(h.Agent) != nil {
		return &routerpb.DeliveryAckResponse{}, nil
	}
	recorded, err := r.acknowledge(ctx, h, d)
	if err != nil {
		return nil, err
	}
	if recorded {
		for _, s := range r.members.of(h.Agent) {
			if s.window == nil {
				continue
			}
			if _, ok := s.window.take(d.seq); ok {
				s.wake()
			}
		}
	}
	return &routerpb.DeliveryAckResponse{Recorded: recorded}, nil
}

// caller returns who makes a canonical call.
func (r *Router) caller(md metadata.MD, agent string) (queue.Holder, error) {
	h := queue.Holder{Agent: agent}
	switch values := md.Get(MetadataInstance); len(values) {
	case 0:
		return h, nil
	case 1:
		var err error
		h.Store, h.Epoch, err = parseInstance(values[0])
		return h, err
	default:
		return h, status.Errorf(codes.InvalidArgument, "%s is there %d times", MetadataInstance, len(values))
	}
}

func (r *Router) header() metadata.MD {
	return metadata.Pairs(MetadataRouter, r.engine.ID(), MetadataRouterStart, r.start)
}

// responseOf puts an answer into the words of the canonical response.
func responseOf(a queue.Answer) *routerpb.SendMessageResponse {
	accepted := func(reason string) *routerpb.SendMessageResponse {
		return &routerpb.SendMessageResponse{Accepted: true, Reason: reason}
	}
	switch a.State {
	case transportpb.Answer_STATE_NEW:
		return accepted("new")
	case transportpb.Answer_STATE_QUEUED:
		return accepted("queued")
	case transportpb.Answer_STATE_LEASED:
		return accepted("leased")
	case transportpb.Answer_STATE_DELIVERED:
		return accepted("delivered")
	case transportpb.Answer_STATE_DONE:
		return accepted("done " + a.Stage.String() + " " + a.Code.String())
	case transportpb.Answer_STATE_LOST:
		return accepted("lost")
	default:
		code := a.Code
		if code == ack.NoCode {
			code = ack.InternalError
		}
		return &routerpb.SendMessageResponse{Reason: strings.ToLower(code.String()) + ": " + a.Note}
	}
}
