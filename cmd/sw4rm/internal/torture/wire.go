package torture

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// wire sees everything that passes between agents and router, notes what tells of promises, and can keep an agent's
// results from everybody.
type wire struct {
	sender  string
	history *recorder
	// canonical returns bytes that are the same for equal messages.
	canonical func(contentType string, payload []byte) []byte

	mu      sync.Mutex
	changed chan struct{}     // closed and replaced with every change of agents, held and ended
	agents  map[string]*known // but the sender
	letters map[string]*letter
	waiting map[string]string // message ids of submissions by agent and number, and of deliveries by agent and seq
	since   int64             // when the sender's stream began
	results map[string]answer // of handlers, by what names them

	muted bool            // what agents submit goes nowhere
	deaf  bool            // nor do their deliveries' acknowledgements, but those of held messages
	holds bool            // the router's word that an agent has custody goes nowhere
	held  map[string]bool // messages that an agent has stored since, and whether their handlers have ended

	parked chan struct{} // closed when the sender's deliveries go on; nil while they do
}

// known is an agent as it has introduced itself.
type known struct {
	id, store    string
	epoch        uint64
	capabilities []string
	// since is when its last stream began, welcomed tells that the router has admitted it.
	since    int64
	welcomed bool
	// refused is why the router has not.
	refused transportpb.Goodbye_Reason
}

// letter is a message of the sender.
type letter struct {
	token, message, to, lane string
	// submitted is when it first was, in which stream of the sender, and how often.
	submitted, stream int64
	submissions       int
	// delivered is when the router first did so, in which stream of the agent.
	delivered, session int64
}

// answer is what a handler has answered.
type answer struct {
	what string
	hash [sha256.Size]byte
	// muted tells that nobody else knows it.
	muted bool
	// again tells that it was given by two runs, contrary by which other one.
	again    bool
	contrary string
}

func newWire(sender string, r *recorder, canonical func(contentType string, payload []byte) []byte) *wire {
	return &wire{
		sender: sender, history: r, canonical: canonical, changed: make(chan struct{}), agents: map[string]*known{}, letters: map[string]*letter{},
		waiting: map[string]string{}, results: map[string]answer{}, held: map[string]bool{},
	}
}

// await waits until cond, which is called under the lock, is true. It is false when ctx ends before.
func (w *wire) await(ctx context.Context, cond func() bool) bool {
	for {
		w.mu.Lock()
		ok, changed := cond(), w.changed
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (w *wire) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func numbered(agent, what string, n uint64) string { return fmt.Sprintf("%s %s %d", agent, what, n) }

// Up implements relay.Gate.
func (w *wire) Up(_ context.Context, agent string, f *transportpb.AgentFrame) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := f.GetFrame().(type) {
	case *transportpb.AgentFrame_Hello:
		w.introduced(agent, f.Hello)
	case *transportpb.AgentFrame_Submit:
		if agent == w.sender {
			w.submitted(f.Submit)
			return true
		}
		w.answered(f.Submit)
		return !w.muted
	case *transportpb.AgentFrame_DeliveryAck:
		id := f.DeliveryAck.GetMessageId()
		_, held := w.held[id]
		if w.deaf && agent != w.sender {
			return held
		}
		if w.holds && w.letters[id] != nil && !held {
			w.held[id] = false
			w.change()
		}
	}
	return true
}

func (w *wire) introduced(agent string, h *transportpb.Hello) {
	now := history.Now()
	if agent == w.sender {
		w.since = now
		return
	}
	a := w.agents[agent]
	if a == nil {
		a = &known{id: agent}
		w.agents[agent] = a
	}
	a.store, a.epoch, a.capabilities, a.since = h.GetStoreId(), h.GetEpoch(), h.GetCapabilities(), now
	a.welcomed, a.refused = false, 0
	w.change()
}

func (w *wire) submitted(s *transportpb.Submit) {
	e := s.GetEnvelope()
	if s.GetClass() != transportpb.Class_CLASS_WORK {
		return
	}
	l := w.letters[e.GetMessageId()]
	if l == nil {
		l = &letter{
			token: e.GetIdempotencyToken(), message: e.GetMessageId(), to: s.GetTo(),
			lane: s.GetTo() + " " + e.GetCorrelationId(), submitted: history.Now(), stream: w.since,
		}
		w.letters[e.GetMessageId()] = l
	}
	l.submissions++
	w.waiting[numbered(w.sender, "submit", s.GetN())] = e.GetMessageId()
}

// answered notes what a handler has answered.
func (w *wire) answered(s *transportpb.Submit) {
	e := s.GetEnvelope()
	if request, ok := envelope.RequestToken(e.GetIdempotencyToken()); ok {
		w.handled(func(l *letter) bool { return l.token == request })
		w.compare("reply to "+request, "the reply", w.canonical(e.GetContentType(), e.GetPayload()))
	}
	if request, _, n, ok := envelope.ParseFrameToken(e.GetIdempotencyToken()); ok {
		w.frame(request, n, e)
	}
	a, ok := outcome(e)
	if !ok || w.letters[a.ForMessageID] == nil {
		return
	}
	w.handled(func(l *letter) bool { return l.message == a.ForMessageID })
	if a.Stage != ack.Failed { // which may have other reasons than the handler's
		w.compare("outcome of "+w.letters[a.ForMessageID].token, "the outcome", []byte(a.Stage.String()))
	}
}

// frame notes a frame of a stream, or what ends it: that one says how many there are.
func (w *wire) frame(request string, n uint64, e *commonpb.Envelope) {
	ct, err := envelope.ParseContentType(e.GetContentType())
	last := slices.IndexFunc(ct.Extra, func(p envelope.Param) bool { return p.Name == "last" })
	switch {
	case err != nil, e.GetMessageType() == commonpb.MessageType_TOOL_ERROR:
	case last < 0:
		w.compare(fmt.Sprintf("frame %d of %s", n, request), fmt.Sprintf("frame %d", n), w.canonical(e.GetContentType(), e.GetPayload()))
	default:
		w.handled(func(l *letter) bool { return l.token == request })
		if a, err := ack.Parse(ct.Media, e.GetPayload()); err == nil && a.Stage == ack.Fulfilled {
			w.compare("number of frames of "+request, "the number of frames", []byte(ct.Extra[last].Value))
		}
	}
}

// handled notes that the handlers of held messages have ended.
func (w *wire) handled(which func(l *letter) bool) {
	for id, ended := range w.held {
		if !ended && which(w.letters[id]) {
			w.held[id] = true
			w.change()
		}
	}
}

// compare notes a result, beside the one that the same operation had before.
func (w *wire) compare(name, what string, payload []byte) {
	now := answer{what: what, hash: sha256.Sum256(payload), muted: w.muted}
	before, known := w.results[name]
	switch {
	case !known:
		w.results[name] = now
	case before.muted && !now.muted:
		// The first one was taken back with the agent's data, so this is another run's.
		before.muted, before.again = false, true
		if before.hash != now.hash {
			before.contrary = what
		}
		w.results[name] = before
	case before.hash != now.hash && before.contrary == "":
		before.again, before.contrary = true, what
		w.results[name] = before
	}
}

// outcome reads an acknowledgement of how a message ended.
func outcome(e *commonpb.Envelope) (ack.Ack, bool) {
	if e.GetMessageType() != commonpb.MessageType_ACKNOWLEDGEMENT {
		return ack.Ack{}, false
	}
	a, err := ack.Parse(e.GetContentType(), e.GetPayload())
	return a, err == nil && a.Stage.Terminal()
}

// Down implements relay.Gate.
func (w *wire) Down(ctx context.Context, agent string, f *transportpb.RouterFrame) bool {
	if agent == w.sender && f.GetDelivery() != nil {
		w.wait(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := f.GetFrame().(type) {
	case *transportpb.RouterFrame_Welcome:
		if a := w.agents[agent]; a != nil {
			a.welcomed = true
			w.change()
		}
	case *transportpb.RouterFrame_Goodbye:
		if a := w.agents[agent]; a != nil {
			a.refused = f.Goodbye.GetReason()
			w.change()
		}
	case *transportpb.RouterFrame_Delivery:
		id := f.Delivery.GetEnvelope().GetMessageId()
		if l := w.letters[id]; l != nil && l.delivered == 0 && w.agents[agent] != nil {
			l.delivered, l.session = history.Now(), w.agents[agent].since
		}
		w.waiting[numbered(agent, "delivery", uint64(f.Delivery.GetSeq()))] = id
	case *transportpb.RouterFrame_AckAnswer:
		return !w.holds || agent == w.sender
	}
	return true
}

// Sent implements relay.Observer.
func (w *wire) Sent(agent string, f *transportpb.AgentFrame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if agent == w.sender || f.GetSubmit() == nil {
		return
	}
	a, ok := outcome(f.GetSubmit().GetEnvelope())
	if l := w.letters[a.ForMessageID]; ok && l != nil {
		e := l.event(history.Custody, history.Return)
		e.Store, e.Stage, e.Code = w.agents[agent].storeOf(), a.Stage.String(), a.Code.String()
		w.history.add(e)
	}
}

// Told implements relay.Observer.
func (w *wire) Told(agent string, f *transportpb.RouterFrame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := f.GetFrame().(type) {
	case *transportpb.RouterFrame_Answer:
		n := numbered(agent, "submit", f.Answer.GetN())
		if l := w.letters[w.waiting[n]]; agent == w.sender && l != nil && f.Answer.GetState() != transportpb.Answer_STATE_REFUSED {
			e := l.event(history.Accept, history.Info)
			e.Note = f.Answer.GetState().String()
			w.history.add(e)
		}
		delete(w.waiting, n)
	case *transportpb.RouterFrame_AckAnswer:
		n := numbered(agent, "delivery", uint64(f.AckAnswer.GetSeq()))
		if l := w.letters[w.waiting[n]]; l != nil && f.AckAnswer.GetRecorded() {
			e := l.event(history.Custody, history.Call)
			e.Store = w.agents[agent].storeOf()
			w.history.add(e)
		}
	}
}

func (k *known) storeOf() string {
	if k == nil {
		return ""
	}
	return k.store
}

func (l *letter) event(op history.Op, kind history.Kind) history.Event {
	return history.Event{Op: op, Kind: kind, Token: l.token, Message: l.message, To: l.to}
}

// mute keeps what agents submit from the router, and from them that they have custody.
func (w *wire) mute() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted, w.holds, w.held = true, true, map[string]bool{}
}

// deafen keeps the acknowledgements of further deliveries from the router too: nothing that the agent stores from now on is
// known to anybody.
func (w *wire) deafen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = true
}

// park keeps from the sender what is delivered to it, so that no operation ends until proceed.
func (w *wire) park() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parked == nil {
		w.parked = make(chan struct{})
	}
}

// proceed lets the sender's deliveries go on.
func (w *wire) proceed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parked != nil {
		close(w.parked)
		w.parked = nil
	}
}

// wait returns when the sender's deliveries may go on, or their stream has ended.
func (w *wire) wait(ctx context.Context) {
	w.mu.Lock()
	parked := w.parked
	w.mu.Unlock()
	if parked == nil {
		return
	}
	select {
	case <-parked:
	case <-ctx.Done():
	}
}

// release lets agents know again what they have custody of. They ask for what they have missed in their next stream.
func (w *wire) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds = false
}

// unmute lets everything pass again, and returns how many of the held messages were handled.
func (w *wire) unmute() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted, w.deaf = false, false
	n := 0
	for _, ended := range w.held {
		if ended {
			n++
		}
	}
	w.held = map[string]bool{}
	return n
}

// disorder returns the messages of a conversation that the router has delivered in another order than it got them in, and
// how many were compared. A message that was submitted twice, or may have been delivered in a stream of which nobody saw
// the end, may come later.
func (w *wire) disorder() (found []*history.Violation, compared int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lanes := map[string][]*letter{}
	for _, l := range w.letters {
		if l.submissions == 1 && l.delivered != 0 && l.submitted > l.session {
			lanes[l.lane] = append(lanes[l.lane], l)
		}
	}
	for _, lane := range lanes {
		slices.SortFunc(lane, func(a, b *letter) int { return int(a.submitted - b.submitted) })
		for i := 1; i < len(lane); i++ {
			a, b := lane[i-1], lane[i]
			if a.stream != b.stream {
				continue
			}
			compared++
			if b.delivered < a.delivered {
				found = append(found, &history.Violation{
					Check: history.InOrder, Text: fmt.Sprintf("message %s was delivered before %s, which was submitted before it", b.message, a.message),
				})
			}
		}
	}
	return found, compared
}
