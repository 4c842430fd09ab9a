package router

import (
	"context"
	"sync"
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// ending says why the router ends a stream.
type ending struct {
	reason transportpb.Goodbye_Reason
	note   string
}

// session is an open stream of an agent.
type session struct {
	holder queue.Holder
	// capabilities returns what the agent serves now.
	capabilities func() []string
	// wake makes the stream look for messages.
	wake func()
	// window is what the stream waits to be acknowledged by other calls; nil where it is acknowledged on the stream.
	window *window
	// end asks the stream to end; only the first reason counts. It never blocks.
	end func(ending)
}

// members knows which streams are open, and which instances of agents are live: with a stream open, or closed less than
// one lease ago.
type members struct {
	lease   time.Duration
	started time.Time

	mu       sync.Mutex
	agents   map[string]*member
	sessions int
	draining bool
}

type member struct {
	// admitting is held while an instance is admitted, so that two cannot both find the agent free.
	admitting chan struct{}
	// users counts who holds or waits for admitting.
	users    int
	sessions map[*session]struct{}
	// closed is when each store's last stream ended.
	closed map[string]time.Time
	// admitted is the instance that was admitted last, for callers without a stream.
	admitted   queue.Holder
	admittedAt time.Time
}

func newMembers(lease time.Duration) *members {
	return &members{lease: lease, started: time.Now(), agents: make(map[string]*member)}
}

// lock waits until nobody else admits instances of the agent.
func (m *members) lock(ctx context.Context, agent string) (*member, func(), error) {
	m.mu.Lock()
	e := m.agents[agent]
	if e == nil {
		e = &member{admitting: make(chan struct{}, 1), sessions: make(map[*session]struct{}), closed: make(map[string]time.Time)}
		m.agents[agent] = e
	}
	e.users++
	m.mu.Unlock()
	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		e.users--
		m.forget(agent, e)
	}
	select {
	case e.admitting <- struct{}{}:
		return e, func() { <-e.admitting; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, nil, ctx.Err()
	}
}

// forget removes an agent of which nothing needs to be known. The caller holds mu.
func (m *members) forget(agent string, e *member) {
	if e.users > 0 || len(e.sessions) > 0 {
		return
	}
	now := time.Now()
	for store, at := range e.closed {
		if now.Sub(at) >= m.lease {
			delete(e.closed, store)
		}
	}
	if len(e.closed) == 0 && now.Sub(e.admittedAt) >= m.lease {
		delete(m.agents, agent)
	}
}

// purge forgets the agents that have been gone for long.
func (m *members) purge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for agent, e := range m.agents {
		m.forget(agent, e)
	}
}

// live tells whether another store than h's is live under h's agent id. Shortly after a start nobody can tell who is, so
// every agent counts as live.
func (m *members) live(e *member, h queue.Holder) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	return now.Sub(m.started) < m.lease || m.other(e, now, func(store string) bool { return store != h.Store })
}

// connected tells whether an agent has a stream open.
func (m *members) connected(agent string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.agents[agent]
	return e != nil && len(e.sessions) > 0
}

// namedLive tells whether an instance with a store of its own is live under an agent's id.
func (m *members) namedLive(agent string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.agents[agent]
	return e != nil && m.other(e, time.Now(), func(store string) bool { return store != "" })
}

// other tells whether a store that which picks is live. The caller holds mu.
func (m *members) other(e *member, now time.Time, which func(store string) bool) bool {
	for s := range e.sessions {
		if which(s.holder.Store) {
			return true
		}
	}
	for store, at := range e.closed {
		if which(store) && now.Sub(at) < m.lease {
			return true
		}
	}
	return false
}

// refusal says why a stream is not added.
type refusal int

const (
	notRefused refusal = iota
	refusedDraining
	refusedTooMany
)

// add enters an admitted stream. A named instance has one stream: the older ones of its store end.
func (m *members) add(e *member, s *session) refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.draining {
		return refusedDraining
	}
	superseded := 0
	if s.holder.Store != "" {
		for old := range e.sessions {
			if old.holder.Store == s.holder.Store {
				old.end(ending{reason: transportpb.Goodbye_REASON_SUPERSEDED, note: "a newer stream of the same store has connected"})
				superseded++
			}
		}
	}
	if m.sessions >= maxStreams || len(e.sessions)-superseded >= maxStreamsPerAgent {
		return refusedTooMany
	}
	m.sessions++
	e.sessions[s] = struct{}{}
	e.admitted, e.admittedAt = instanceOf(s.holder), time.Now()
	return notRefused
}

// remove takes a stream out that has ended.
func (m *members) remove(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.agents[s.holder.Agent]
	if e == nil {
		return
	}
	if _, ok := e.sessions[s]; ok {
		delete(e.sessions, s)
		m.sessions--
		e.closed[s.holder.Store] = time.Now()
	}
}

// known tells whether h's instance was admitted less than a lease ago or has a stream open, and none after it.
func (m *members) known(h queue.Holder) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.agents[h.Agent]
	return e != nil && e.admitted == instanceOf(h) && (len(e.sessions) > 0 || time.Since(e.admittedAt) < m.lease)
}

// note keeps which instance was admitted without a stream.
func (m *members) note(e *member, h queue.Holder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.admitted, e.admittedAt = instanceOf(h), time.Now()
}

func instanceOf(h queue.Holder) queue.Holder {
	h.Stream = 0
	return h
}

// wake makes the streams of an agent look for messages.
func (m *members) wake(agent string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.agents[agent]; e != nil {
		for s := range e.sessions {
			s.wake()
		}
	}
}

// of returns the open streams of an agent.
func (m *members) of(agent string) []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.agents[agent]
	if e == nil {
		return nil
	}
	all := make([]*session, 0, len(e.sessions))
	for s := range e.sessions {
		all = append(all, s)
	}
	return all
}

// single returns the only agent with a stream, other than the producer, that serves capabilities.
func (m *members) single(producer string) (agent string, capabilities []string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, e := range m.agents {
		if id == producer {
			continue
		}
		for s := range e.sessions {
			offered := s.capabilities()
			if len(offered) == 0 {
				continue
			}
			if ok {
				return "", nil, false
			}
			agent, capabilities, ok = id, offered, true
			break
		}
	}
	return agent, capabilities, ok
}

func (m *members) isDraining() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.draining
}

// drain takes no more streams, and ends those that are open.
func (m *members) drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.draining = true
	for _, e := range m.agents {
		for s := range e.sessions {
			s.end(ending{reason: transportpb.Goodbye_REASON_DRAINING, note: "the router is going down"})
		}
	}
}
