package router

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// admit lets an instance in and enters its stream. A nil ending and error mean that it is in.
func (r *Router) admit(ctx context.Context, s *session) (*ending, error) {
	h := s.holder
	e, unlock, err := r.members.lock(ctx, h.Agent)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer unlock()
	if refused, err := r.admission(ctx, e, h); refused != nil || err != nil {
		return refused, err
	}
	switch r.members.add(e, s) {
	case refusedDraining:
		return &ending{reason: transportpb.Goodbye_REASON_DRAINING, note: "the router is going down"}, nil
	case refusedTooMany:
		return nil, status.Error(codes.ResourceExhausted, "too many streams are open")
	default:
		return nil, nil
	}
}

// vouch lets an instance in that sends without a stream.
func (r *Router) vouch(ctx context.Context, h queue.Holder) (*ending, error) {
	if h.Store == "" {
		if r.members.namedLive(h.Agent) {
			return duplicate(h.Agent), nil
		}
		return nil, nil
	}
	if r.members.known(h) {
		return nil, nil
	}
	e, unlock, err := r.members.lock(ctx, h.Agent)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer unlock()
	refused, err := r.admission(ctx, e, h)
	if refused == nil && err == nil {
		r.members.note(e, h)
	}
	return refused, err
}

// admission asks the engine. The caller holds the agent's lock.
func (r *Router) admission(ctx context.Context, e *member, h queue.Holder) (*ending, error) {
	if r.members.isDraining() {
		return &ending{reason: transportpb.Goodbye_REASON_DRAINING, note: "the router is going down"}, nil
	}
	answer, err := r.engine.Admit(ctx, h, r.members.live(e, h))
	if err != nil {
		return nil, r.failure(ctx, "admit", err)
	}
	switch answer {
	case queue.Admitted:
		r.house.by(time.Now()) // the senders of what the store before had are told
		return nil, nil
	case queue.RefusedDuplicate:
		return duplicate(h.Agent), nil
	case queue.RefusedFull:
		return nil, status.Errorf(codes.ResourceExhausted, "max_agents: the router knows as many agents as it may, and %s is none of them. "+
			"Fix: use the id of an agent that is there, or raise the limit", h.Agent)
	default:
		return &ending{
			reason: transportpb.Goodbye_REASON_STORE_ROLLED_BACK,
			note:   "agent " + h.Agent + ": this store is older than one that has been seen, or was replaced",
		}, nil
	}
}

func duplicate(agent string) *ending {
	return &ending{
		reason: transportpb.Goodbye_REASON_DUPLICATE_AGENT,
		note:   "agent " + agent + " is live with another store. Fix: stop the other one, or use another id",
	}
}

// refusedStatus is what an ending is on the canonical RPCs.
func refusedStatus(e ending) error {
	code := codes.PermissionDenied
	if e.reason == transportpb.Goodbye_REASON_DRAINING {
		code = codes.Unavailable
	}
	word := strings.ToLower(strings.TrimPrefix(e.reason.String(), "REASON_"))
	return status.Errorf(code, "%s: %s", word, e.note)
}

// checkAgent returns a status unless id may be an agent's.
func checkAgent(id string) error {
	if err := address.CheckName("agent id", id); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if id == address.RouterID {
		return status.Errorf(codes.PermissionDenied, "agent id %q is reserved", id)
	}
	return nil
}

// holderOf reads a hello.
func (r *Router) holderOf(h *transportpb.Hello) (queue.Holder, []string, error) {
	if err := checkAgent(h.GetAgentId()); err != nil {
		return queue.Holder{}, nil, err
	}
	if err := address.CheckName("store id", h.GetStoreId()); err != nil {
		return queue.Holder{}, nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if h.GetEpoch() == 0 {
		return queue.Holder{}, nil, status.Error(codes.InvalidArgument, "epoch is 0. Fix: begin with 1")
	}
	if n := len(h.GetCapabilities()); n > maxCapabilities {
		return queue.Holder{}, nil, status.Errorf(codes.InvalidArgument, "%d capabilities. Fix: use at most %d", n, maxCapabilities)
	}
	for _, c := range h.GetCapabilities() {
		if err := address.CheckName("capability", c); err != nil {
			return queue.Holder{}, nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	capabilities := slices.Clone(h.GetCapabilities())
	slices.Sort(capabilities)
	return queue.Holder{
		Agent: h.GetAgentId(), Store: h.GetStoreId(), Epoch: h.GetEpoch(), Stream: r.streams.Add(1),
	}, slices.Compact(capabilities), nil
}

// parseInstance reads STORE/EPOCH.
func parseInstance(s string) (store string, epoch uint64, err error) {
	store, number, ok := strings.Cut(s, "/")
	if !ok || address.CheckName("store id", store) != nil {
		return "", 0, status.Error(codes.InvalidArgument, "sw4rm-instance is not STORE/EPOCH")
	}
	epoch, err = strconv.ParseUint(number, 10, 64)
	if err != nil || epoch == 0 {
		return "", 0, status.Error(codes.InvalidArgument, "the epoch of sw4rm-instance is not a positive number")
	}
	return store, epoch, nil
}

// addressesOf returns the addresses whose messages an agent takes.
func addressesOf(agent string, capabilities []string) []string {
	all := make([]string, 0, 1+len(capabilities))
	all = append(all, address.Agent(agent).String())
	for _, c := range capabilities {
		if a := address.Capability(c); a.Validate() == nil {
			all = append(all, a.String())
		}
	}
	return all
}
