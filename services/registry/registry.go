// Package registry is the protocol's registry of agents: it keeps what agents say of themselves, durably, and forgets an
// agent only when asked to.
package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/internal/fullness"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// DefaultMaxAgents is how many agents a registry knows at most, as many as a router.
const DefaultMaxAgents = queue.DefaultMaxAgents

const keyAgent = "agent/"

var boundAgents = fullness.Bound{
	Name: "max_agents, registered", Fix: "call DeregisterAgent for those that are gone, or raise the limit (sw4rm up --max-agents)",
}

// StorePrefix is where in a store that services share a registry has its part.
const StorePrefix = "registry/"

// Options of a registry. The zero Options are the defaults.
type Options struct {
	// MaxAgents bounds the number of agents; 0 is DefaultMaxAgents.
	MaxAgents int
	// Changed is called after an agent's capabilities may have changed. It must not call the registry's RPCs.
	Changed func(agentID string)
	// Logger gets what operators should know; nil is slog.Default.
	Logger *slog.Logger
}

// Entry is what the registry knows of an agent.
type Entry struct {
	Descriptor *registrypb.AgentDescriptor
	// State, Health and Seen are of the last heartbeat since the registry started; Seen is zero before the first one.
	State  commonpb.AgentState
	Health map[string]string
	Seen   time.Time
}

// Registry serves sw4rm.registry.RegistryService. Its methods may be called from any goroutine.
type Registry struct {
	registrypb.UnimplementedRegistryServiceServer

	store store.Store
	opts  Options
	log   *slog.Logger

	// writing lets one change at a time be written; it is a channel so that waiting ends with the caller.
	writing chan struct{}
	// full is what was logged of MaxAgents; writing guards it.
	full fullness.Gauge

	mu     sync.RWMutex
	agents map[string]*Entry
}

// Open reads the registry that s holds. The registry uses the whole of s and does not close it.
func Open(ctx context.Context, s store.Store, o Options) (*Registry, error) {
	if o.MaxAgents <= 0 {
		o.MaxAgents = DefaultMaxAgents
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r := &Registry{store: s, opts: o, log: o.Logger, writing: make(chan struct{}, 1), agents: make(map[string]*Entry)}
	err := s.Scan([]byte(keyAgent), keyEnd(keyAgent), func(key, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := new(registrypb.AgentDescriptor)
		if err := proto.Unmarshal(value, d); err != nil {
			return &store.DamagedError{File: "the registry's store", Offset: -1, Key: bytes.Clone(key), Err: err}
		}
		r.agents[d.GetAgentId()] = &Entry{Descriptor: d}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", err)
	}
	r.full.Grew(r.log, boundAgents, len(r.agents), o.MaxAgents)
	return r, nil
}

// Register enters the registry's service.
func (r *Registry) Register(s grpc.ServiceRegistrar) { registrypb.RegisterRegistryServiceServer(s, r) }

// Capabilities returns what an agent has registered, nil for an unknown one. The caller must not change it.
func (r *Registry) Capabilities(agentID string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e, ok := r.agents[agentID]; ok {
		return e.Descriptor.GetCapabilities()
	}
	return nil
}

// Agents returns a copy of every entry, by agent id.
func (r *Registry) Agents() []Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Entry, 0, len(r.agents))
	for _, id := range slices.Sorted(maps.Keys(r.agents)) {
		e := *r.agents[id]
		e.Descriptor, e.Health = proto.CloneOf(e.Descriptor), maps.Clone(e.Health)
		all = append(all, e)
	}
	return all
}

// RegisterAgent enters or replaces an agent's descriptor.
func (r *Registry) RegisterAgent(ctx context.Context, req *registrypb.RegisterAgentRequest) (*registrypb.RegisterAgentResponse, error) {
	d := req.GetAgent()
	if err := check(d); err != nil {
		return &registrypb.RegisterAgentResponse{Reason: "validation_error: " + err.Error()}, nil
	}
	value, err := proto.Marshal(d)
	if err != nil {
		return &registrypb.RegisterAgentResponse{Reason: "validation_error: " + err.Error()}, nil
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	id := d.GetAgentId()
	if !r.room(id) {
		return &registrypb.RegisterAgentResponse{Reason: fmt.Sprintf("buffer_full: the registry knows %d agents, the limit is %d. Fix: %s",
			r.opts.MaxAgents, r.opts.MaxAgents, boundAgents.Fix)}, nil
	}
	var b store.Batch
	b.Set([]byte(keyAgent+id), value)
	if err := r.write(ctx, &b); err != nil {
		return nil, err
	}
	r.mu.Lock()
	e := &Entry{Descriptor: d}
	if old, known := r.agents[id]; known {
		e.State, e.Health, e.Seen = old.State, old.Health, old.Seen
	}
	r.agents[id] = e
	known := len(r.agents)
	r.mu.Unlock()
	r.log.InfoContext(ctx, "agent registered", "agent", id, "capabilities", len(d.GetCapabilities()))
	r.full.Grew(r.log, boundAgents, known, r.opts.MaxAgents)
	r.opts.Changed(id)
	return &registrypb.RegisterAgentResponse{Accepted: true}, nil
}

// Heartbeat notes that an agent is alive; ok=false asks it to register again.
func (r *Registry) Heartbeat(_ context.Context, req *registrypb.HeartbeatRequest) (*registrypb.HeartbeatResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.agents[req.GetAgentId()]
	if !ok {
		return &registrypb.HeartbeatResponse{}, nil
	}
	e.State, e.Seen = req.GetState(), time.Now()
	e.Health = mergeHealth(e.Health, req.GetHealth())
	return &registrypb.HeartbeatResponse{Ok: true}, nil
}

// DeregisterAgent removes an agent; ok=false says that it was not known.
func (r *Registry) DeregisterAgent(ctx context.Context, req *registrypb.DeregisterAgentRequest) (*registrypb.DeregisterAgentResponse, error) {
	id := req.GetAgentId()
	unlock, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r.mu.RLock()
	_, known := r.agents[id]
	r.mu.RUnlock()
	if !known {
		return &registrypb.DeregisterAgentResponse{}, nil
	}
	var b store.Batch
	b.Delete([]byte(keyAgent + id))
	if err := r.write(ctx, &b); err != nil {
		return nil, err
	}
	r.mu.Lock()
	delete(r.agents, id)
	left := len(r.agents)
	r.mu.Unlock()
	r.log.InfoContext(ctx, "agent deregistered", "agent", id)
	r.full.Shrank(r.log, boundAgents, left, r.opts.MaxAgents)
	r.opts.Changed(id)
	return &registrypb.DeregisterAgentResponse{Ok: true}, nil
}

func (r *Registry) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case r.writing <- struct{}{}:
		return func() { <-r.writing }, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// room tells whether the agent is known, or there is place for another one.
func (r *Registry) room(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, known := r.agents[id]
	return known || len(r.agents) < r.opts.MaxAgents
}

// write makes b durable. A caller that gives up does not stop it: what was applied is what memory must show.
func (r *Registry) write(ctx context.Context, b *store.Batch) error {
	err := store.Write(context.WithoutCancel(ctx), r.store, b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrClosed):
		return status.Error(codes.Unavailable, "the registry is going down. Fix: try again")
	default:
		r.log.ErrorContext(ctx, "the registry cannot write", "error", err)
		return status.Error(codes.Internal, "the registry's store has failed. Fix: mend its disk, which its log names, and start it again")
	}
}

// keyEnd is the first key after all that begin with prefix.
func keyEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}
