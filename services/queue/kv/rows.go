package kv

import (
	"cmp"
	"maps"
	"slices"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// row is what memory holds of a message that waits or is leased. What never changes is set before it is inserted; the
// rest changes under the engine's lock.
type row struct {
	seq       int64
	queue     queueKey
	to        string
	producer  string
	messageID string
	token     tokenKey
	retry     uint32
	accepted  time.Time
	ttl       time.Duration
	bytes     int64
	// copy repeats to a custodian what it has already; copyStore is the store that it is meant for.
	copy      bool
	copyStore string
	// mark covers the batch that wrote the row.
	mark store.Mark

	// handouts are the first and the latest deliveries.
	handouts   []*storagepb.QueueDelivery
	deliveries int
	// spent counts the deliveries that failed.
	spent int
	// lastAgent and lastStore had it leased last.
	lastAgent, lastStore string
	// due ends its wait, zero for never.
	due time.Time
	// leased, holder and until are its lease; from is when it began, zero where silence says nothing about the holder.
	leased      bool
	holder      queue.Holder
	from, until time.Time

	inQueue, inDue, inEnds int
}

func (r *row) work() bool { return r.queue.class == transportpb.Class_CLASS_WORK }

// heldBy tells whether h's store has the row leased, or had it leased last and nobody else has it.
func (r *row) heldBy(h queue.Holder) bool {
	if r.leased {
		return r.holder.Agent == h.Agent && r.holder.Store == h.Store
	}
	return r.deliveries > 0 && r.lastAgent == h.Agent && r.lastStore == h.Store
}

// setDue sets the time at which it stops to wait.
func (r *row) setDue(keepUnfetched time.Duration) {
	if r.ttl > 0 {
		r.due = r.accepted.Add(r.ttl)
	}
	if !r.work() {
		if d := r.accepted.Add(keepUnfetched); r.due.IsZero() || d.Before(r.due) {
			r.due = d
		}
	}
}

// expired tells whether its time to live has passed.
func (r *row) expired(now time.Time) bool { return r.ttl > 0 && now.Sub(r.accepted) >= r.ttl }

// record returns what lies on disk, with this many deliveries, the last one to agent's store.
func (r *row) record(deliveries int, agent, storeID string) *storagepb.QueueRow {
	p := &storagepb.QueueRow{
		Seq:        r.seq,
		Class:      r.queue.class,
		Address:    r.queue.address,
		To:         r.to,
		Producer:   r.producer,
		MessageId:  r.messageID,
		RetryCount: r.retry,
		AcceptedAt: r.accepted.UnixNano(),
		TtlMs:      r.ttl.Milliseconds(),
		Bytes:      r.bytes,
		Deliveries: int32(min(deliveries, 1<<30)),
		LastAgent:  agent,
		LastStore:  storeID,
		Copy:       r.copy,
		CopyStore:  r.copyStore,
		HandedOut:  r.handouts,
		Spent:      int32(min(r.spent, 1<<30)),
	}
	if r.work() {
		p.TokenKey = r.token[:]
	}
	return p
}

func rowOf(p *storagepb.QueueRow) *row {
	r := &row{
		seq:        p.GetSeq(),
		queue:      queueKey{p.GetClass(), p.GetAddress()},
		to:         p.GetTo(),
		producer:   p.GetProducer(),
		messageID:  p.GetMessageId(),
		retry:      p.GetRetryCount(),
		accepted:   time.Unix(0, p.GetAcceptedAt()),
		ttl:        time.Duration(p.GetTtlMs()) * time.Millisecond,
		bytes:      p.GetBytes(),
		copy:       p.GetCopy(),
		copyStore:  p.GetCopyStore(),
		handouts:   p.GetHandedOut(),
		deliveries: int(p.GetDeliveries()),
		spent:      int(p.GetSpent()),
		lastAgent:  p.GetLastAgent(),
		lastStore:  p.GetLastStore(),
	}
	copy(r.token[:], p.GetTokenKey())
	return r
}

// rowQueue holds the rows of one class at one address.
type rowQueue struct {
	waiting rowHeap
	leased  map[int64]*row
	// removed counts the rows that went since its head was written.
	removed int
}

func (q *rowQueue) len() int { return len(q.waiting.rows) + len(q.leased) }

// oldest returns the row with the lowest seq. The leased ones are few: credit bounds them.
func (q *rowQueue) oldest() *row {
	first := q.waiting.top()
	for _, r := range q.leased {
		if first == nil || r.seq < first.seq {
			first = r
		}
	}
	return first
}

func (e *Engine) queueLen(k queueKey) int {
	if q := e.queues[k]; q != nil {
		return q.len()
	}
	return 0
}

// queue returns a queue, which may be a new one.
func (e *Engine) queue(k queueKey) *rowQueue {
	q := e.queues[k]
	if q == nil {
		q = &rowQueue{waiting: newSeqHeap(), leased: make(map[int64]*row)}
		e.queues[k] = q
	}
	return q
}

// insert lets a row wait.
func (e *Engine) insert(r *row) {
	q := e.queue(r.queue)
	e.rows[r.seq] = r
	q.waiting.push(r)
	if !r.due.IsZero() {
		e.due.push(r)
	}
	e.noteQueue(r.queue)
}

// remove forgets a row.
func (e *Engine) remove(r *row) {
	e.unlease(r)
	e.due.remove(r)
	delete(e.rows, r.seq)
	q := e.queues[r.queue]
	if q == nil {
		return
	}
	q.waiting.remove(r)
	q.removed++
	if q.len() == 0 {
		delete(e.queues, r.queue)
	}
}

// lease hands a waiting row to a holder.
func (e *Engine) lease(r *row, h queue.Holder, from, until time.Time) {
	q := e.queue(r.queue)
	q.waiting.remove(r)
	e.due.remove(r)
	q.leased[r.seq] = r
	r.leased, r.holder, r.from, r.until = true, h, from, until
	r.lastAgent, r.lastStore = h.Agent, h.Store
	e.ends.push(r)
	mine := e.leased[h.Agent]
	if mine == nil {
		mine = make(map[int64]*row)
		e.leased[h.Agent] = mine
	}
	mine[r.seq] = r
}

// leasedBy returns what an agent has leased, in the order in which it came.
func (e *Engine) leasedBy(agent string) []*row {
	return slices.SortedFunc(maps.Values(e.leased[agent]), func(a, b *row) int { return cmp.Compare(a.seq, b.seq) })
}

// unlease ends a lease without saying where the row goes.
func (e *Engine) unlease(r *row) {
	if !r.leased {
		return
	}
	e.ends.remove(r)
	if q := e.queues[r.queue]; q != nil {
		delete(q.leased, r.seq)
	}
	mine := e.leased[r.holder.Agent]
	delete(mine, r.seq)
	if len(mine) == 0 {
		delete(e.leased, r.holder.Agent)
	}
	r.leased, r.holder, r.until = false, queue.Holder{}, time.Time{}
}

// giveBack puts a leased row back to its place.
func (e *Engine) giveBack(r *row) {
	e.unlease(r)
	e.insert(r)
}
