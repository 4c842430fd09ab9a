package agenttest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// CrashPoint is a moment in the handling of a message.
type CrashPoint int

// The moments, in their order. At each of them the handler's run is counted, so that exchange.Info.Run is 2 after a
// restart.
const (
	// AfterReceived is when the sender was told that the message is received, and not that it is read. The handler has
	// not begun.
	AfterReceived CrashPoint = iota + 1
	// AfterRead is when the sender was told that the message is read. The handler has not begun.
	AfterRead
	// BeforeOutcome is when the handler has returned, and its outcome is not recorded.
	BeforeOutcome
	// AfterOutcome is when outcome and reply are recorded, and nobody was told.
	AfterOutcome
)

// String returns the moment's name.
func (p CrashPoint) String() string {
	names := map[CrashPoint]string{
		AfterReceived: "AfterReceived", AfterRead: "AfterRead", BeforeOutcome: "BeforeOutcome", AfterOutcome: "AfterOutcome",
	}
	if name, ok := names[p]; ok {
		return name
	}
	return fmt.Sprintf("CrashPoint(%d)", int(p))
}

// errCrashed is what a crashed agent's store fails with.
var errCrashed = errors.New("the test has crashed this agent")

// CrashAt makes the agent crash while it handles the next message that is delivered to it: at that moment its connection
// ends and nothing more is stored. The channel is closed when that has happened; Reopen is the restart. For a handler that
// still runs in another message, its context ends.
func (n *Net) CrashAt(id string, point CrashPoint) <-chan struct{} {
	n.t.Helper()
	f := n.faultsOf(id)
	n.instanceOf(id).crashable()
	c := &crash{at: point, happened: make(chan struct{}), told: make(chan struct{})}
	if point < AfterReceived || point > AfterOutcome {
		n.t.Fatalf("agenttest: there is no %v", point)
	}
	f.set(func(f *faults) { f.crash = c })
	return c.happened
}

// Crash ends the agent's connection and lets nothing more be stored, as if its process were killed now.
func (n *Net) Crash(id string) {
	n.t.Helper()
	i := n.instanceOf(id)
	i.crashable()
	i.die()
}

// Reopen returns a new agent with the configuration of the one of this id, on what that one has stored, as a restarted
// process would have it. The former is closed if it still runs. The test registers the handlers and starts it.
func (n *Net) Reopen(id string) *agent.Agent {
	n.t.Helper()
	i := n.instanceOf(id)
	i.crashable()
	if err := i.agent.Close(); err != nil {
		n.t.Errorf("close agent %s: %v", id, err)
	}
	return n.AgentOn(i.cfg, i.disk.Reopen())
}

// instance is one opening of an agent.
type instance struct {
	net    *Net
	agent  *agent.Agent
	cfg    agent.Config // as the test gave it
	disk   *store.Memory
	faults *faults
	cut    chan struct{} // closed when the connection ends for good
	once   sync.Once
}

func (i *instance) crashable() {
	i.net.t.Helper()
	if i.disk == nil {
		i.net.t.Fatalf("agenttest: agent %s is on a store that cannot crash. Fix: use a *store.Memory", i.cfg.ID)
	}
}

// die ends the instance as a crash of its process would.
func (i *instance) die() {
	i.once.Do(func() { close(i.cut) })
	i.disk.Fail(errCrashed)
}

// WrapSend implements exchange.Interceptor.
func (i *instance) WrapSend(next exchange.SendFunc) exchange.SendFunc { return next }

// WrapHandle implements exchange.Interceptor. It stands right around the handler.
func (i *instance) WrapHandle(next exchange.HandleFunc) exchange.HandleFunc {
	return func(ctx context.Context, in *exchange.Incoming) (proto.Message, error) {
		c := i.faults.current()
		if c == nil || !c.targets(in.Info.MessageID) {
			return next(ctx, in)
		}
		select {
		case <-c.told:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if c.at == AfterReceived || c.at == AfterRead {
			i.crash(c)
			return nil, errCrashed
		}
		reply, err := next(ctx, in)
		if c.at == BeforeOutcome {
			i.crash(c)
			return nil, errCrashed
		}
		return reply, err
	}
}

func (i *instance) crash(c *crash) {
	i.die()
	i.faults.set(func(f *faults) { f.crash = nil })
	close(c.happened)
}

// crash is one that is to come.
type crash struct {
	at       CrashPoint
	happened chan struct{}
	// told is closed when the router has taken the last acknowledgement that the sender is to get.
	told chan struct{}

	mu    sync.Mutex
	id    string // the message's
	token string
	n     uint64 // the submission of that acknowledgement
	muted bool   // nothing leaves the agent any more
}

// meet makes the message the one during which the agent crashes, unless there is one.
func (c *crash) meet(d *transportpb.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == "" && d.GetClass() == transportpb.Class_CLASS_WORK {
		c.id, c.token = d.GetEnvelope().GetMessageId(), d.GetEnvelope().GetIdempotencyToken()
	}
}

func (c *crash) targets(messageID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id != "" && c.id == messageID
}

// connected forgets what an earlier connection has left unanswered; it is sent again.
func (c *crash) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.told:
	default:
		c.n, c.muted = 0, false
	}
}

// leaving tells whether a frame leaves the agent, and whether the agent crashes instead.
func (c *crash) leaving(f *transportpb.AgentFrame) (passes, crashes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := f.GetSubmit()
	if c.muted || c.id == "" || s == nil {
		return !c.muted, false
	}
	env := s.GetEnvelope()
	if token, reply := envelope.RequestToken(env.GetIdempotencyToken()); reply && token == c.token && s.GetClass() == transportpb.Class_CLASS_ANSWER {
		c.muted = c.at == AfterOutcome
		return !c.muted, c.muted
	}
	if s.GetClass() != transportpb.Class_CLASS_SIGNAL {
		return true, false
	}
	sig, err := ack.Parse(env.GetContentType(), env.GetPayload())
	if err != nil || sig.ForMessageID != c.id {
		return true, false
	}
	last := ack.Read
	if c.at == AfterReceived {
		last = ack.Received
	}
	switch {
	case sig.Stage == last:
		c.n = s.GetN()
		c.muted = c.at == AfterReceived || c.at == AfterRead
	case sig.Stage.Terminal() && c.at == AfterOutcome:
		c.muted = true
		return false, true
	}
	return true, false
}

// answered takes the router's answer to a submission.
func (c *crash) answered(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 || n != c.n {
		return
	}
	c.n = 0
	close(c.told)
}
