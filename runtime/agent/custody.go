package agent

import (
	"sync"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// custodies are the received messages of which the router has still to say that this agent has them: those that another
// agent may get, or the router itself may end, should its record say otherwise.
type custodies struct {
	mu       sync.Mutex
	byRouter map[delivery]*custody
	byRecord map[uint64]*custody
}

// delivery is how a router names what it delivers. Another router may give the same number to something else.
type delivery struct {
	router string
	seq    int64
}

// custody is one of them.
type custody struct {
	record   uint64
	delivery delivery
	// messageID is that of the attempt that was delivered.
	messageID string
	// decided is told once what the router says.
	decided func(recorded bool)
}

func newCustodies() *custodies {
	return &custodies{byRouter: map[delivery]*custody{}, byRecord: map[uint64]*custody{}}
}

func deliveryOf(rec *storagepb.InRecord) delivery {
	return delivery{rec.GetRouterStoreId(), rec.GetRouterSeq()}
}

func (c *custodies) add(e *custody) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byRouter[e.delivery], c.byRecord[e.record] = e, e
}

// moved notes that the router names a message otherwise than before.
func (c *custodies) moved(record uint64, to delivery, messageID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byRecord[record]; e != nil {
		delete(c.byRouter, e.delivery)
		e.delivery, e.messageID = to, messageID
		c.byRouter[to] = e
	}
}

// take removes and returns what the router speaks of, nil when nothing waits for it.
func (c *custodies) take(d delivery) *custody {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remove(c.byRouter[d])
}

// takeForeign removes and returns a message that another router than this has delivered.
func (c *custodies) takeForeign(record uint64, router string) *custody {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byRecord[record]; e != nil && e.delivery.router != router {
		return c.remove(e)
	}
	return nil
}

func (c *custodies) remove(e *custody) *custody {
	if e != nil {
		delete(c.byRouter, e.delivery)
		delete(c.byRecord, e.record)
	}
	return e
}

// waiting returns what a router has to be asked about.
func (c *custodies) waiting() []custody {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]custody, 0, len(c.byRecord))
	for _, e := range c.byRecord {
		all = append(all, *e)
	}
	return all
}

// awaitCustody calls accept in the turn of the message when the router says that this agent has it, and drops it when it
// says that it has not.
func (a *Agent) awaitCustody(rec *storagepb.InRecord, messageID, lane string, accept func()) {
	turn := a.turns.enter(lane, accept)
	a.custodies.add(&custody{record: rec.GetSequence(), delivery: deliveryOf(rec), messageID: messageID, decided: func(recorded bool) {
		var err error
		if recorded {
			err = a.buf.CustodyIn(rec.GetSequence())
		} else {
			err = a.buf.DropIn(a.base, rec.GetSequence())
			a.inflow.release(rec.GetPayloadBytes())
		}
		if err != nil {
			a.failure("record who has a message", err)
			return
		}
		a.turns.decide(turn, recorded)
	}})
}

// custody takes the router's answer to the acknowledgement of a delivery.
func (a *Agent) custody(answer *transportpb.AckAnswer) {
	s := a.outbox.current()
	if s == nil {
		return // asked again in the next session
	}
	if e := a.custodies.take(delivery{s.routerID(), answer.GetSeq()}); e != nil {
		a.work.do("custody", func() { e.decided(answer.GetRecorded()) })
	}
}

// askCustody asks the router again about the messages for which its answer was lost. Another router does not know.
func (a *Agent) askCustody(s session) {
	for _, e := range a.custodies.waiting() {
		if e.delivery.router == s.routerID() {
			s.ackDelivery(&transportpb.DeliveryAck{Seq: e.delivery.seq, MessageId: e.messageID})
			continue
		}
		a.dropForeign(s, e.record)
	}
}

// custodyAsked asks the router about a message that has begun to wait for its word. The session may have ended while the
// message was stored: askCustody of the one after that has not seen it then, when it was there first.
func (a *Agent) custodyAsked(d inbound, rec *storagepb.InRecord) {
	a.settled(d)
	if s := a.outbox.current(); s != nil && s.routerID() != rec.GetRouterStoreId() {
		a.dropForeign(s, rec.GetSequence())
	}
}

// dropForeign drops a message that another router than that of a session has delivered, and still waits for its word.
func (a *Agent) dropForeign(s session, record uint64) {
	a.work.do("custody", func() {
		// This router may have delivered it meanwhile.
		if foreign := a.custodies.takeForeign(record, s.routerID()); foreign != nil {
			foreign.decided(false)
		}
	})
}
