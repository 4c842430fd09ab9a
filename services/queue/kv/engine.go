// Package kv is the queue engine over a key-value store: in memory for tests and on disk with Pebble, with the same code.
//
// Work, signals and answers wait in queues by address. What is in memory is the metadata of waiting and leased rows, the
// agents' instances and the producers' marks; envelopes, tokens and message ids lie in the store only. Every transition
// is one batch: memory changes after the batch was applied, and an answer is given after it was synced. All keys begin
// with "q", so a store may be shared with records that begin otherwise.
package kv

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Options of an engine. The zero Options are the defaults.
type Options struct {
	// Limits bound the engine.
	Limits queue.Limits
	// Logger gets what nobody is told otherwise; the default discards.
	Logger *slog.Logger
	// NewAck builds the acknowledgement that the router itself owes the producer of a message, of which it gets at least
	// the ids. It is called while the engine is locked, and must not call it. The default is a JSON acknowledgement by address.RouterID.
	NewAck func(of *commonpb.Envelope, stage ack.Stage, code ack.Code, note string) *commonpb.Envelope
	// Notify is called, without locks held, after something has become available at an address.
	Notify func(to string)
	// Now is the clock of the envelopes that the engine owes, and of requests that carry no time; the default is
	// time.Now.
	Now func() time.Time
}

// Engine implements queue.Engine over a store. It has no goroutines of its own and is not closed: its owner closes the
// store.
type Engine struct {
	s      store.Store
	limits queue.Limits
	log    *slog.Logger
	newAck func(*commonpb.Envelope, ack.Stage, ack.Code, string) *commonpb.Envelope
	notify func(string)
	now    func() time.Time

	// pruning lets one Prune run at a time, telling one look for lost custody. They are taken before mu.
	pruning, telling sync.Mutex

	// mu guards what follows. It is not held while a batch is synced.
	mu sync.Mutex
	// mark covers every batch that an answer may tell of.
	mark store.Mark
	// lastSeq was given last; numbers up to reserved may be given without a write of their own.
	lastSeq, reserved int64
	// prunedMs is where the index of expiries begins.
	prunedMs int64
	dead     deadCount
	// deadFrom is where dead letters begin, or before; nil for anywhere.
	deadFrom []byte

	bounds bounds

	rows   map[int64]*row
	queues map[queueKey]*rowQueue
	// leased has the leased rows by agent.
	leased map[string]map[int64]*row
	// due orders waiting rows by the end of their time, ends orders leased rows by the end of their lease.
	due, ends rowHeap

	// heard is when something came last from holders of leases.
	heard map[queue.Holder]time.Time

	instances   map[string]instance
	lostCustody lostCustody
	producers   map[producerKey]*producerMark
	// behind has the producers with tokens to prune.
	behind map[producerKey]*producerMark
}

var _ queue.Engine = (*Engine)(nil)

// Open returns the engine whose state lies in s. It reads what is active, not what has finished.
func Open(ctx context.Context, s store.Store, opts Options) (*Engine, error) {
	e := &Engine{
		s:         s,
		limits:    withDefaults(opts.Limits),
		log:       opts.Logger,
		newAck:    opts.NewAck,
		notify:    opts.Notify,
		now:       opts.Now,
		rows:      make(map[int64]*row),
		queues:    make(map[queueKey]*rowQueue),
		leased:    make(map[string]map[int64]*row),
		due:       newDueHeap(),
		ends:      newLeaseHeap(),
		heard:     make(map[queue.Holder]time.Time),
		instances: make(map[string]instance),
		producers: make(map[producerKey]*producerMark),
		behind:    make(map[producerKey]*producerMark),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.newAck == nil {
		e.newAck = e.routerAck
	}
	if err := e.recover(ctx); err != nil {
		return nil, fmt.Errorf("open queue engine: %w", err)
	}
	return e, nil
}

func withDefaults(l queue.Limits) queue.Limits {
	if l.MaxWork <= 0 {
		l.MaxWork = queue.DefaultMaxWork
	}
	if l.MaxWaiting <= 0 {
		l.MaxWaiting = queue.DefaultMaxWaiting
	}
	if l.MaxAgents <= 0 {
		l.MaxAgents = queue.DefaultMaxAgents
	}
	if l.KeepAgents <= 0 {
		l.KeepAgents = queue.DefaultKeepAgents
	}
	if l.DeliveryBudget <= 0 {
		l.DeliveryBudget = queue.DefaultDeliveryBudget
	}
	if l.Window <= 0 {
		l.Window = queue.DefaultWindow
	}
	if l.KeepUnknown <= 0 {
		l.KeepUnknown = queue.DefaultKeepUnknown
	}
	if l.KeepUnfetched <= 0 {
		l.KeepUnfetched = queue.DefaultKeepUnfetched
	}
	if l.KeepDead <= 0 {
		l.KeepDead = queue.DefaultKeepDead
	}
	if l.MaxDead <= 0 {
		l.MaxDead = queue.DefaultMaxDead
	}
	if l.MaxDeadBytes <= 0 {
		l.MaxDeadBytes = queue.DefaultMaxDeadBytes
	}
	return l
}

// ID identifies the engine's store, and stays over restarts.
func (e *Engine) ID() string { return e.s.Instance().ID }

// Limits returns the limits in force.
func (e *Engine) Limits() queue.Limits { return e.limits }

// wake tells the owner, without locks held, of the addresses at which something has become available.
func (e *Engine) wake(addresses []string) {
	if e.notify == nil {
		return
	}
	var told map[string]bool
	for i, a := range addresses {
		if len(addresses) > 1 {
			if told[a] {
				continue
			}
			if i == 0 {
				told = make(map[string]bool, len(addresses))
			}
			told[a] = true
		}
		e.notify(a)
	}
}

// ready returns an error when nothing is to be answered: the caller has gone, or the store has failed. Memory may then say
// what never became durable.
func (e *Engine) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.s.Err()
}

// at returns t, or the engine's time when t is none.
func (e *Engine) at(t time.Time) time.Time {
	if t.IsZero() {
		return e.now()
	}
	return t
}
